// "Where did my film go?": one film's way through the chain, as a figure and in sentences.

import * as api from "./api.js";
import { combobox, filmOption } from "./combobox.js";
import { byId, h, svg } from "./dom.js";
import { blend, component, genre, number, percent, t } from "./i18n.js";
import { errorBox } from "./notices.js";
import { poster } from "./poster.js";
import { sentences } from "./verdict.js";

const STEPS = ["merge", "filter", "score", "blend", "select"];
const BEFORE_CHANNELS = ["history", "request"];
const latest = new api.Latest();

/** Draw the search field; `onChoose(film)` follows a film. */
export function drawWhere(onChoose, suggestions) {
  byId("where-search").replaceChildren(
    combobox({
      label: t("where.search"),
      placeholder: t("where.placeholder"),
      none: "search.none",
      showLabel: false,
      option: filmOption,
      onChoose,
      search: async (text, signal) => (await api.movies(text, signal)).movies,
    }),
    suggestions.length
      ? h(
          "p",
          { class: "tries" },
          t("where.try"),
          " ",
          suggestions.map((film) =>
            h("button", { type: "button", class: "link", on: { click: () => onChoose(film) } }, film.title),
          ),
        )
      : "",
  );
}

/** Ask the service about a film and show its answer. */
export async function follow(film, body) {
  const box = byId("where-answer");
  box.setAttribute("aria-busy", "true");
  try {
    const answer = await latest.run((signal) => api.explain({ ...body, movie_id: film.movie_id }, signal));
    if (answer === undefined) return;
    box.replaceChildren(verdictOf(film, answer));
  } catch (error) {
    box.replaceChildren(errorBox(error, () => follow(film, body)));
  }
  box.removeAttribute("aria-busy");
}

function verdictOf(film, answer) {
  const { why, helps } = sentences(answer);
  return h(
    "article",
    { class: "verdict" },
    h("div", { class: "verdict-poster" }, poster(film)),
    h(
      "div",
      { class: "verdict-words" },
      h("p", { class: "kicker" }, fateWords(answer)),
      h("h3", {}, film.label ?? film.title),
      h("p", { class: "genres" }, answer.genres.map(genre).join(" · ")),
      h("p", { class: "verdict-why" }, upperFirst(why)),
      helps.length
        ? [
            h("h4", {}, t("where.helps")),
            h(
              "ul",
              { class: "helps" },
              helps.map((help) => h("li", {}, upperFirst(help))),
            ),
          ]
        : null,
    ),
    h("div", { class: "verdict-path" }, h("h4", {}, t("where.path")), pathFigure(answer)),
    h("div", { class: "verdict-channels" }, h("h4", {}, t("where.channels")), channelFigure(answer)),
    features(answer),
  );
}

/** The fate in a few words. */
function fateWords({ fate, facts }) {
  const name = fate === "excluded" && facts.seen === null ? "excluded.request" : fate;
  return t(`fate.${name}`);
}

/** The stop that dropped the film; null where none did. */
function dropStop({ fate, facts }, stages) {
  switch (fate) {
    case "excluded":
      return facts.seen === null ? "request" : "history";
    case "filtered": // the filter of a request acts in the channels, before they offer anything
      return facts.objections.length ? "request" : "filter";
    case "not_offered":
      return "channels";
    case "cut_by_merge":
      return "merge";
    case "ranked_low":
      return ["score", "blend", "select"].find((name) => name in stages) ?? "list";
    case "reranked_out":
      return "select";
    case "displaced":
      return "list";
    default:
      return null;
  }
}

/** The stages as stops on a line; the one that dropped the film is marked. */
function pathFigure(answer) {
  const stages = Object.fromEntries(answer.stages.map((stage) => [stage.stage, stage]));
  const dropStage = dropStop(answer, stages);
  const stops = [
    ...BEFORE_CHANNELS.filter((name) => name === dropStage),
    "channels",
    ...STEPS.filter((name) => stages[name] && (name !== "filter" || dropStage === "filter")),
    "list",
  ];
  const cut = dropStage === null ? stops.length : stops.indexOf(dropStage);
  return h(
    "ol",
    { class: "stops" },
    stops.map((name, index) => {
      const mode = index < cut ? "passed" : index === cut ? "dropped" : "unreached";
      return h(
        "li",
        { class: `stop ${mode}` },
        h(
          "div",
          { class: "stop-name" },
          h("strong", {}, nameOf(name)),
          stages[name] ? h("span", { class: "faint" }, componentOf(stages[name])) : null,
          h("span", { class: "stop-state" }, t(`where.${mode}`)),
        ),
        stopFigure(name, answer, stages[name], mode),
      );
    }),
  );
}

function componentOf({ stage, name }) {
  return stage === "blend" ? blend(name) : component(name);
}

function nameOf(stop) {
  return t(stop === "channels" ? "where.channels.step" : `where.${stop}`);
}

function stopFigure(name, answer, stage, mode) {
  if (BEFORE_CHANNELS.includes(name)) return h("p", {}, fateWords(answer));
  if (name === "channels" && mode === "unreached") return null;
  if (name === "channels") {
    const found = answer.channels.filter((channel) => channel.offered).length;
    return h("p", {}, t("where.offered", { found, all: answer.channels.length }));
  }
  if (name === "list") return answer.place ? h("p", {}, t("card.place", { place: answer.place })) : null;
  if (!stage || !stage.place || mode === "unreached") return null;
  const over = stage.place - stage.limit;
  return [
    track(stage.place, stage.limit, stage.of),
    h(
      "p",
      {},
      t("where.place", { rank: stage.place, place: stage.place, of: stage.of, limit: stage.limit }),
      stage.first ? ` · ${t("where.first", { count: stage.first })}` : "",
      mode === "dropped" && over > 0 ? h("strong", {}, ` · ${t("where.over", { count: over })}`) : null,
    ),
  ];
}

/** A place on a logarithmic line from 1 to `of`; the part that goes on is drawn strong. */
function track(place, limit, of) {
  const share = (value) => (Math.log(Math.max(value, 1)) / Math.log(Math.max(of, limit, place, 2))) * 96 + 2;
  const inside = place <= limit;
  return svg(
    "svg",
    { class: "track", width: "100%", height: 16, "aria-hidden": "true" },
    svg("rect", { class: "track-all", x: "2%", y: 6, width: "96%", height: 4, rx: 2 }),
    svg("rect", { class: "track-kept", x: "2%", y: 6, width: `${(share(limit) - 2).toFixed(2)}%`, height: 4, rx: 2 }),
    svg("rect", { class: "track-limit", x: `${share(limit).toFixed(2)}%`, y: 2, width: 1.5, height: 12 }),
    svg("circle", { class: inside ? "track-in" : "track-out", cx: `${share(place).toFixed(2)}%`, cy: 8, r: 5 }),
  );
}

function channelFigure(answer) {
  return h(
    "ul",
    { class: "channel-ranks" },
    answer.channels.map((channel) =>
      h(
        "li",
        {},
        h("span", { class: "channel-name" }, component(channel.name)),
        channel.rank === null
          ? h("span", { class: "faint" }, t("where.noscore"))
          : [
              track(channel.rank, channel.retrieves, channel.scored),
              h(
                "span",
                { class: "faint" },
                t("where.takes", { rank: channel.rank, of: channel.scored, limit: channel.retrieves }),
              ),
            ],
      ),
    ),
  );
}

/** The strongest parts of the ranker's score, against the mean candidate. */
function features(answer) {
  const strongest = answer.contributions.slice(0, 8);
  if (strongest.length === 0) return null;
  const share = answer.ranker_share;
  const most = Math.max(...strongest.map((one) => Math.abs(one.value)));
  return h(
    "details",
    { class: "features" },
    h("summary", {}, t("where.features")),
    h(
      "p",
      { class: "faint" },
      t("where.features.lead"),
      share < 1 ? ` ${t("where.features.share", { share: percent(share) })}` : "",
    ),
    h(
      "ul",
      {},
      strongest.map((one) =>
        h(
          "li",
          { title: one.meaning },
          h("code", {}, one.feature),
          svg(
            "svg",
            { width: "100%", height: 8, "aria-hidden": "true" },
            svg("rect", {
              class: one.value > 0 ? "gain" : "loss",
              height: 8,
              rx: 2,
              x: `${one.value > 0 ? 50 : 50 - (50 * -one.value) / most}%`,
              width: `${(50 * Math.abs(one.value)) / most}%`,
            }),
          ),
          h("span", { class: "feature-value" }, `${one.value > 0 ? "+" : "−"}${number(Math.abs(one.value), 3)}`),
        ),
      ),
    ),
  );
}

function upperFirst(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
