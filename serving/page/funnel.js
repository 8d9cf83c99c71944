// How the list was made: films in, films out and milliseconds of every stage.

import { byId, h, svg } from "./dom.js";
import { component, milliseconds, t } from "./i18n.js";

const ORDER = ["source", "merge", "hydrate", "filter", "score", "select"];

/** Draw the funnel of an answer's trace. */
export function showFunnel(trace, info) {
  const roles = ORDER.map((role) => ({ role, stages: trace.stages.filter((stage) => stage.stage === role) })).filter(
    ({ stages }) => stages.length > 0,
  );
  const widest = Math.max(info.movies, ...roles.map(outOf));
  byId("funnel").replaceChildren(
    h(
      "ol",
      { class: "funnel" },
      row({
        name: t("how.catalogue"),
        count: t("how.films", { count: info.movies }),
        share: logShare(info.movies, widest),
      }),
      roles.map((role) => group(role, widest)),
    ),
    timeline(roles, trace.milliseconds),
  );
}

function outOf({ stages }) {
  const sum = stages.reduce((total, stage) => total + stage.items_out, 0);
  return stages[0].stage === "source" ? sum : stages.at(-1).items_out;
}

function msOf({ stages }) {
  return stages.reduce((total, stage) => total + stage.milliseconds, 0);
}

/** A length for a count that lets 10 of 80,000 still be seen. */
function logShare(count, widest) {
  return Math.log1p(count) / Math.log1p(widest);
}

function group(role, widest) {
  const { stages } = role;
  const count = outOf(role);
  const words = t(role.role === "source" ? "how.offers" : "how.films", { count });
  const line = { name: t(`how.${role.role}`), count: words, share: logShare(count, widest), ms: msOf(role) };
  if (stages.length === 1) return row({ ...line, detail: component(stages[0].name), error: stages[0].error });
  return row({ ...line, parts: stages });
}

function row({ name, detail = null, count, share, ms = null, parts = null, error = null }) {
  return h(
    "li",
    { class: "funnel-row" },
    h("div", { class: "funnel-name" }, h("strong", {}, name), detail ? h("span", { class: "faint" }, detail) : null),
    svg(
      "svg",
      { class: "funnel-bar", width: "100%", height: 26, "aria-hidden": "true" },
      svg("rect", { x: `${(50 - share * 50).toFixed(2)}%`, width: `${(share * 100).toFixed(2)}%`, height: 26, rx: 3 }),
    ),
    h("div", { class: "funnel-count" }, count),
    h("div", { class: "funnel-ms" }, ms === null ? "" : milliseconds(ms)),
    error ? h("p", { class: "skipped" }, t("how.skipped", { reason: error })) : null,
    parts ? h("ul", { class: "funnel-parts" }, parts.map(partOf)) : null,
  );
}

function partOf(stage) {
  return h(
    "li",
    { class: stage.error ? "failed" : null },
    h("span", {}, component(stage.name)),
    h(
      "span",
      { class: "faint" },
      stage.error
        ? t("how.skipped", { reason: stage.error })
        : `${stage.stage === "source" ? `${stage.items_out} · ` : ""}${milliseconds(stage.milliseconds)}`,
    ),
  );
}

/** One bar of the whole time, a part per role. */
function timeline(roles, total) {
  const sum = Math.max(
    roles.reduce((all, role) => all + msOf(role), 0),
    1e-9,
  );
  let x = 0;
  const parts = roles.map((role, at) => {
    const width = (100 * msOf(role)) / sum;
    const part = svg("rect", {
      class: `tone-${at % 6}`,
      x: `${x.toFixed(2)}%`,
      width: `${Math.max(width - 0.3, 0.1).toFixed(2)}%`,
      height: 12,
    });
    x += width;
    return part;
  });
  return h(
    "div",
    { class: "timeline" },
    h("h3", {}, t("how.share"), " ", h("span", { class: "faint" }, t("how.total", { ms: milliseconds(total) }))),
    svg("svg", { width: "100%", height: 12, "aria-hidden": "true" }, parts),
    h(
      "ul",
      { class: "legend" },
      roles.map((role, at) =>
        h(
          "li",
          {},
          svg(
            "svg",
            { width: 10, height: 10, "aria-hidden": "true" },
            svg("rect", { class: `tone-${at % 6}`, width: 10, height: 10, rx: 2 }),
          ),
          `${t(`how.${role.role}`)} `,
          h("span", { class: "faint" }, milliseconds(msOf(role))),
        ),
      ),
    ),
  );
}
