// The words above the list: whose it is, and how it came about.

import { byId } from "./dom.js";
import { component, genre, milliseconds, t } from "./i18n.js";

/** Kicker, headline and standfirst of the state. */
export function showHeadline(state) {
  const { kicker, headline, standfirst } = words(state);
  byId("kicker").textContent = kicker;
  byId("headline").textContent = headline;
  byId("standfirst").textContent = standfirst;
}

function words(state) {
  if (state.mode === "user" && state.user === null) {
    return { kicker: t("taste.user"), headline: t("taste.pick"), standfirst: t("taste.user.empty") };
  }
  return { kicker: kickerOf(state), headline: headlineOf(state), standfirst: standfirstOf(state) };
}

function kickerOf({ mode, user, history, whatIf }) {
  if (whatIf.size) return t("kicker.whatif");
  if (mode === "own") return t("kicker.own");
  return t("kicker.user", {
    count: history.length || user.events,
    genres: user.genres.map(genre).join(t("list.joint")),
  });
}

function headlineOf({ mode, user, history, answer }) {
  const shown = answer?.items.length;
  if (shown === 0) return t("headline.none");
  if (mode === "own" && history.length === 0) return t("headline.start");
  if (shown === undefined) return t("headline.loading");
  return mode === "own"
    ? t("headline.own", { shown, count: shown })
    : t("headline.user", { shown, count: shown, id: user.user_id });
}

/** How the list came about, from the trace of its answer. */
function standfirstOf({ mode, history, answer, info }) {
  if (answer?.items.length === 0) return "";
  if (mode === "own" && history.length === 0) return t("standfirst.start");
  if (answer === null) return "";
  const { stages, milliseconds: ms } = answer.trace;
  const merged = stages.find((stage) => stage.stage === "merge")?.items_out ?? 0;
  const channels = stages.filter((stage) => stage.stage === "source" && stage.items_out > 0).length;
  const values = { channels, movies: info.movies, merged, shown: answer.items.length, ms: milliseconds(ms) };
  if (!info.ranker || !info.reranker) return t("standfirst.plain", values);
  return t("standfirst", { ...values, ranker: component(info.ranker), reranker: component(info.reranker) });
}
