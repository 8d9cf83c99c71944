// Ratings that change the history: one's own, kept by the browser, and events of a stored user, kept by the service.
// `page` is {state, refresh, loadUser, showError} of app.js.

import * as api from "./api.js";
import { number, t } from "./i18n.js";
import { keepTaste } from "./state.js";
import { toast } from "./toast.js";

export function rateOwn(page, film, rating) {
  const before = page.state.own;
  const { movie_id, title, label, year, genres } = film;
  const event = { movie_id, title, label, year, genres, rating, time: Math.floor(Date.now() / 1000) };
  const at = before.findIndex((one) => one.movie_id === movie_id);
  setOwn(page, at < 0 ? [event, ...before] : before.map((one, index) => (index === at ? event : one)));
  toast(ratedWords(film, rating), () => setOwn(page, before));
}

export function removeOwn(page, event) {
  const before = page.state.own;
  setOwn(
    page,
    before.filter((one) => one.movie_id !== event.movie_id),
  );
  toast(t("toast.removed", { title: event.title }), () => setOwn(page, before));
}

export function clearOwn(page) {
  const before = page.state.own;
  setOwn(page, []);
  toast(t("toast.cleared"), () => setOwn(page, before));
}

function setOwn(page, events) {
  const { state } = page;
  state.own = events;
  keepTaste(events);
  if (state.mode !== "own") return;
  startComparison(state);
  state.history = events;
  page.refresh();
}

/** Rate as a stored user: a live event. */
export async function rateAsUser(page, film, rating) {
  const user = page.state.user.user_id;
  const kind = rating === null ? { kind: "watch" } : { kind: "rating", rating };
  try {
    const event = await api.addEvent({ user_id: user, movie_id: film.movie_id, ...kind, idempotency_key: randomKey() });
    await eventsChanged(page, user);
    toast(ratedWords(film, rating), () => undo(page, user, event.event_id));
  } catch (error) {
    page.showError(error, () => rateAsUser(page, film, rating));
  }
}

async function undo(page, user, event) {
  try {
    await api.undoEvent(event);
    await eventsChanged(page, user);
    toast(t("toast.undone"));
  } catch (error) {
    page.showError(error, () => undo(page, user, event));
  }
}

async function eventsChanged(page, user) {
  const { state } = page;
  if (state.mode !== "user" || state.user.user_id !== user) return;
  startComparison(state);
  await page.loadUser();
}

/** The next list is compared with the real one of now. */
function startComparison(state) {
  state.reference = state.whatIf.size ? state.reference : (state.answer?.items ?? null);
  state.whatIf = new Map();
}

function ratedWords(film, rating) {
  return rating === null
    ? t("toast.seen", { title: film.title })
    : t("toast.rated", { title: film.title, value: number(rating, 1) });
}

/** A random key; `crypto.randomUUID` exists on secure origins alone. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
