// What the page knows, and the requests that follow from it.

import { recall, remember } from "./storage.js";

const LONGEST = 2000; // of a history, and of films to exclude, in one request
const AHEAD = 3600; // seconds; the service takes a day
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

/**
 * Who is asked for: with a what-if or one's own ratings, the history goes along. A longer history than a request may
 * have is cut, and then the real list that a what-if is compared with is made from the same part of it.
 */
function whose(state, { real = false } = {}) {
  const user = state.mode === "own" ? {} : { user_id: state.user.user_id };
  const isWhole = real ? state.history.length <= LONGEST : state.whatIf.size === 0;
  if (state.mode === "user" && isWhole) return user;
  const latest = state.history.slice(0, LONGEST);
  const whatIf = real ? new Map() : state.whatIf;
  return { ...user, history: sent(changed(latest, whatIf)), exclude: absent(state.history, latest, whatIf) };
}

export function listBody(state, options = {}) {
  return { ...whose(state, options), k: state.k, filters: state.filters };
}

export function recommendationBody(state, options = {}) {
  const body = listBody(state, options);
  return state.diversity === null ? body : { ...body, diversity: state.diversity };
}

/** A history with the what-if's changes. */
function changed(history, whatIf) {
  return history
    .filter((event) => whatIf.get(event.movie_id) !== null)
    .map((event) => (whatIf.has(event.movie_id) ? { ...event, rating: whatIf.get(event.movie_id) } : event));
}

/** Films that were seen and are not in the history that is sent, so that they are not recommended. */
function absent(history, latest, whatIf) {
  const removed = [...whatIf].filter(([, rating]) => rating === null).map(([film]) => film);
  const older = history.slice(latest.length).map((event) => event.movie_id);
  return [...new Set([...removed, ...older])].slice(0, LONGEST);
}

/** Events as the service takes them, oldest first. It refuses future times, which a clock set wrong may have left. */
function sent(events) {
  const latest = Math.floor(Date.now() / 1000) + AHEAD;
  return [...events].reverse().map(({ movie_id, rating, time }) => {
    const event = { movie_id };
    if (rating !== null && rating !== undefined) event.rating = rating;
    if (time !== null && time !== undefined) event.time = Math.min(time, latest);
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
