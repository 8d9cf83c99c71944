// The page: its state, what changes it, and what is drawn after each change.

import * as api from "./api.js";
import { clearFilms, dimFilms, showFilms, showSkeletons } from "./cards.js";
import { drawControls, isFiltered, showTradeOffs } from "./controls.js";
import { byId, h } from "./dom.js";
import { showFunnel } from "./funnel.js";
import { showHeadline } from "./headline.js";
import { t, translate } from "./i18n.js";
import { compare, goneFilms, movesNote, summary } from "./moves.js";
import { degradedNote, errorBox, unknownNote } from "./notices.js";
import { clearOwn, rateAsUser, rateOwn, removeOwn } from "./rating.js";
import { scaleOf } from "./stars.js";
import { eventsByFilm, forget, listBody, newState, NO_FILTERS, recommendationBody, STEP } from "./state.js";
import { drawSwitches } from "./switches.js";
import { drawTaste, showTaste } from "./taste.js";
import { drawWhere, follow } from "./where.js";

const lists = new api.Latest();
const curves = new api.Latest();
const histories = new api.Latest();
let state = null;
let followed = null;
let suggestions = [];

/** What the actions of other files need of the page. */
const page = {
  get state() {
    return state;
  },
  refresh,
  loadUser,
  showError,
};

const actions = {
  setMode(mode) {
    if (mode === state.mode) return;
    state.mode = mode;
    forget(state);
    state.history = mode === "own" ? state.own : [];
    if (mode === "user" && state.user !== null) loadUser();
    else refresh();
  },
  chooseUser(user) {
    state.user = user;
    forget(state);
    state.history = [];
    loadUser();
  },
  rate(film, rating) {
    if (state.mode === "own") rateOwn(page, film, rating);
    else rateAsUser(page, film, rating);
  },
  change(event, rating) {
    if (state.mode === "user") whatIf(event.movie_id, rating);
    else if (rating === null) removeOwn(page, event);
    else rateOwn(page, event, rating);
  },
  restore(event) {
    whatIf(event.movie_id, event.rating);
  },
  without(reason) {
    whatIf(reason.movie_id, null);
  },
  back() {
    state.whatIf = new Map();
    state.reference = null;
    refresh();
    byId("list").focus({ preventScroll: true });
  },
  clearOwn() {
    clearOwn(page);
  },
  setDiversity(value) {
    state.diversity = value;
    settingsChanged();
    showTradeOffs(state);
  },
  setFilters(changes) {
    state.filters = { ...state.filters, ...changes };
    byId("filter-clear").hidden = !isFiltered(state.filters);
    settingsChanged();
  },
  clearFilters() {
    state.filters = NO_FILTERS;
    settingsChanged();
    drawControls(state, actions);
    byId("controls").querySelector(".pill")?.focus();
  },
};

/** Another list of the same history: it is compared with nothing, except during a what-if. */
function settingsChanged() {
  state.reference = null;
  refresh();
}

function whatIf(film, rating) {
  if (state.whatIf.size === 0) state.reference = null;
  const stored = state.history.find((event) => event.movie_id === film);
  if (stored !== undefined && rating === stored.rating) state.whatIf.delete(film);
  else state.whatIf.set(film, rating);
  if (state.whatIf.size === 0) state.reference = null;
  refresh();
}

async function loadUser() {
  state.loadingHistory = state.history.length === 0;
  if (state.answer === null) waiting();
  showTaste(state, actions);
  try {
    const events = await histories.run((signal) => api.history(state.user.user_id, signal));
    if (events === undefined) return;
    state.history = events;
    state.loadingHistory = false;
    await refresh();
  } catch (error) {
    state.loadingHistory = false;
    showError(error, loadUser);
  }
}

/** Ask for the list again; an answer that is out of date is dropped. */
async function refresh() {
  showTaste(state, actions);
  if (state.mode === "user" && state.user === null) {
    lists.cancel();
    return nobody();
  }
  if (state.answer === null) waiting();
  else dimFilms();
  try {
    const found = await lists.run(fetchList);
    if (found === undefined) return;
    state.answer = found.answer;
    state.reference = found.reference;
    showAnswer();
    drawCurve();
  } catch (error) {
    showError(error, refresh);
  }
}

/** The list, and during a what-if also the real one with the same settings, to compare with. */
async function fetchList(signal) {
  const asked = [api.recommendations({ ...recommendationBody(state), explain: true }, signal)];
  if (state.whatIf.size && state.reference === null)
    asked.push(api.recommendations(recommendationBody(state, { real: true }), signal));
  const [answer, real] = await Promise.all(asked);
  return { answer, reference: real?.items ?? state.reference };
}

async function drawCurve() {
  if (!state.info.has_diversity) return;
  try {
    const found = await curves.run((signal) => api.tradeOffs(listBody(state), signal));
    if (found === undefined) return;
    state.points = found.points;
  } catch (error) {
    state.points = [];
    showTradeOffs(state);
    byId("variety-cost").textContent = t(`error.${error.code ?? "internal"}`);
    return;
  }
  showTradeOffs(state);
}

function showAnswer() {
  const { answer, info } = state;
  const moves = state.reference === null ? null : compare(state.reference, answer.items);
  byId("notices").replaceChildren(degradedNote(answer) ?? "", unknownNote(answer) ?? "");
  byId("moves").replaceChildren(movesNote(state, moves, actions.back) ?? "");
  showHeadline(state);
  showFilms(answer.items, { moves, info, scale: state.scale, events: eventsByFilm(state), actions });
  byId("below").replaceChildren(
    ...[goneFilms(moves, ask), emptyNote(answer), moreButton(answer)].filter((part) => part !== null),
  );
  showFunnel(answer.trace, info);
  showColophon(answer.model_version);
  byId("live").textContent = spoken(answer, moves);
  if (followed !== null) ask(followed, { scroll: false });
}

/** What screen readers say of a new list. */
function spoken(answer, moves) {
  if (answer.items.length === 0) return t("list.empty");
  const titles = answer.items.slice(0, 3).map((film) => film.title);
  const words = t("list.updated", { titles: titles.join(", ") });
  return moves === null ? words : `${summary(moves)} ${words}`;
}

function emptyNote(answer) {
  return answer.items.length
    ? null
    : h("div", { class: "empty" }, h("p", { class: "empty-title" }, t("list.empty")), h("p", {}, t("list.empty.hint")));
}

function moreButton(answer) {
  if (answer.items.length < state.k || state.k >= 4 * STEP) return null;
  return h(
    "button",
    {
      type: "button",
      class: "wide",
      on: {
        click: () => {
          state.k += STEP;
          state.reference = null;
          refresh();
        },
      },
    },
    t("list.more"),
  );
}

/** Follow a film through the request that made the list. */
function ask(film, { scroll = true } = {}) {
  if (state.mode === "user" && state.user === null) return;
  followed = film;
  follow(film, recommendationBody(state));
  if (!scroll) return;
  byId("where").scrollIntoView({
    block: "start",
    behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
  });
  byId("where").focus({ preventScroll: true });
}

function waiting() {
  byId("notices").replaceChildren();
  byId("moves").replaceChildren();
  byId("below").replaceChildren();
  showHeadline(state);
  showSkeletons(STEP);
}

function nobody() {
  clearFilms();
  for (const id of ["notices", "moves", "below"]) byId(id).replaceChildren();
  showHeadline(state);
}

function showError(error, retry) {
  const onKey = (value) => {
    api.setApiKey(value);
    retry();
  };
  byId("films").removeAttribute("aria-busy");
  byId("films").classList.remove("waiting");
  if (state === null || state.answer === null) clearFilms();
  byId("notices").replaceChildren(errorBox(error, retry, onKey));
}

function showColophon(version) {
  const { movies, users, channels, posters, notice } = state.info;
  byId("colophon").replaceChildren(
    h("p", {}, t("colophon", { version, movies, users, channels: channels.length })),
    h("p", {}, `${t("colophon.terms")} ${t(posters > 0 ? "colophon.some" : "colophon.drawn")}`),
    notice ? h("p", {}, notice) : "",
  );
}

/** Everything again, in the language that was chosen. */
function redraw() {
  translate(document);
  drawSwitches(redraw);
  if (state === null) return;
  drawTaste(state, actions);
  drawControls(state, actions);
  drawWhere(ask, suggestions);
  clearFilms();
  if (state.answer !== null) showAnswer();
  else showHeadline(state);
}

async function start() {
  translate(document);
  drawSwitches(redraw);
  showSkeletons(STEP);
  try {
    const info = await api.info();
    state = newState(info, scaleOf(info));
    suggestions = (await api.movies("")).movies.slice(0, 4);
  } catch (error) {
    showError(error, start);
    return;
  }
  byId("notices").replaceChildren();
  state.history = state.own;
  redraw();
  refresh();
}

start();
