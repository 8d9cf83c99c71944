// What the page knows, and the requests that follow from it.

import { recall, remember } from "./storage.js";

const LONGEST = 2000;
export const STEP = 12;
export const NO_FILTERS = { genres: [], not_genres: [], year_from: null, year_to: null, min_ratings: null };

export function newState(info, scale) {
  return {
    info,
    scale,
    mode: "own",
    user: null,
    own: storedTaste(),
    history: [], // of the taste that is shown, latest first
    loadingHistory: false,
    expanded: false,
    whatIf: new Map(), // film → rating, null = removed
    filters: NO_FILTERS,
    diversity: null,
    k: STEP,
    answer: null,
    reference: null, // films of the list that the one shown is compared with
    points: null,
  };
}

/** Drop what belongs to the list of another taste. */
export function forget(state) {
  const fresh = { whatIf: new Map(), reference: null, expanded: false, answer: null, points: null, k: STEP };
  Object.assign(state, fresh);
}

/** Who is asked for: with a what-if or one's own ratings, the history goes along. */
function whose(state, { real = false } = {}) {
  const events = real ? state.history : changed(state);
  if (state.mode === "own") return { history: sent(events) };
  const user = { user_id: state.user.user_id };
  return state.whatIf.size === 0 || real ? user : { ...user, history: sent(events) };
}

export function listBody(state, options = {}) {
  return { ...whose(state, options), k: state.k, filters: state.filters };
}

export function recommendationBody(state, options = {}) {
  const body = listBody(state, options);
  return state.diversity === null ? body : { ...body, diversity: state.diversity };
}

/** The history with the what-if's changes. */
function changed({ history, whatIf }) {
  return history
    .filter((event) => whatIf.get(event.movie_id) !== null)
    .map((event) => (whatIf.has(event.movie_id) ? { ...event, rating: whatIf.get(event.movie_id) } : event));
}

/** Events as the service takes them: the latest ones, oldest first. */
function sent(events) {
  return events
    .slice(0, LONGEST)
    .reverse()
    .map(({ movie_id, rating, time }) => {
      const event = { movie_id };
      if (rating !== null && rating !== undefined) event.rating = rating;
      if (time !== null && time !== undefined) event.time = time;
      return event;
    });
}

/** The latest event of each film of the history that is shown. */
export function eventsByFilm(state) {
  return new Map([...state.history].reverse().map((event) => [event.movie_id, event]));
}

function storedTaste() {
  try {
    const events = JSON.parse(recall("taste") ?? "[]");
    return Array.isArray(events)
      ? events.filter((event) => event?.movie_id !== undefined && typeof event.title === "string")
      : [];
  } catch {
    return [];
  }
}

export function keepTaste(events) {
  remember("taste", events.length ? JSON.stringify(events) : null);
}
