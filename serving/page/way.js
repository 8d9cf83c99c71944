// The way of a film through the chain, small on its card: found by which channels, ranked where, shown where.

import { h, svg } from "./dom.js";
import { component, number, t } from "./i18n.js";

const WORST = 300;
const BAR = 6;
const HEIGHT = 20;

/** Length of a rank on a logarithmic scale: 1 for rank 1, towards 0 for the last ones. */
function strength(rank, worst = WORST) {
  return Math.max(0.08, 1 - Math.log(rank) / Math.log(Math.max(worst, rank + 1)));
}

/** The bar and, opened, the ranks behind it. `channels` are all channels of the pipeline, in order. */
export function way(film, { channels, reranker }) {
  const ranks = new Map(film.channels.map((channel) => [channel.name, channel.rank]));
  const { merge, rank, final } = film.places;
  const spoken = t(rank ? "way.label" : "way.label.unranked", {
    title: film.title,
    found: ranks.size,
    all: channels.length,
    rank,
    final,
  });
  const summary = h(
    "summary",
    { "aria-label": spoken },
    step(t("way.found"), equaliser(channels, ranks)),
    rank ? step(t("way.ranked"), h("span", { class: "way-number" }, number(rank))) : null,
    step(t("way.shown"), h("span", { class: "way-number" }, number(final), arrow(rank, final))),
  );
  const rows = channels.map((name) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, component(name)),
      h("td", { class: "way-bar" }, ranks.has(name) ? bar(strength(ranks.get(name))) : null),
      h("td", {}, ranks.has(name) ? number(ranks.get(name)) : h("span", { class: "faint" }, t("way.not"))),
    ),
  );
  if (merge)
    rows.push(
      h("tr", { class: "way-merge" }, h("th", { scope: "row" }, t("way.merge")), h("td"), h("td", {}, number(merge))),
    );
  return h(
    "details",
    { class: "way" },
    summary,
    h("table", {}, h("caption", {}, t("way.channels")), h("tbody", {}, rows)),
    rank && reranker ? h("p", { class: "faint" }, moved(rank, final, component(reranker))) : null,
  );
}

function step(caption, content) {
  return h(
    "span",
    { class: "way-step" },
    h("span", { class: "way-content" }, content),
    h("span", { class: "way-caption" }, caption),
  );
}

/** One small bar per channel, the higher the better its rank; a dot where it did not offer the film. */
function equaliser(channels, ranks) {
  const width = channels.length * BAR;
  return svg(
    "svg",
    { class: "equaliser", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" },
    channels.map((name, at) => {
      const tall = ranks.has(name) ? Math.max(3, strength(ranks.get(name)) * HEIGHT) : 1.5;
      return svg("rect", {
        class: ranks.has(name) ? "on" : "off",
        x: at * BAR,
        y: HEIGHT - tall,
        width: BAR - 2,
        height: tall,
        rx: 0.75,
      });
    }),
  );
}

function bar(share) {
  return svg(
    "svg",
    { width: "100%", height: 5, "aria-hidden": "true" },
    svg("rect", { class: "on", width: `${(share * 100).toFixed(1)}%`, height: 5, rx: 2 }),
  );
}

function arrow(rank, final) {
  if (!rank || rank === final) return null;
  const up = rank > final;
  return h(
    "span",
    { class: up ? "way-arrow up" : "way-arrow down" },
    ` ${up ? "↑" : "↓"}${number(Math.abs(rank - final))}`,
  );
}

function moved(rank, final, reranker) {
  if (rank === final) return t("way.kept", { reranker });
  return t(rank > final ? "way.up" : "way.down", { reranker, count: Math.abs(rank - final) });
}
