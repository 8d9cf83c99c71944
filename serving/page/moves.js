// What moves between two lists, and the words and pictures of it.

import { h } from "./dom.js";
import { number, t } from "./i18n.js";
import { poster } from "./poster.js";

/** {was: old place by film, up, down, new, gone: films that left} of a list against the one before. */
export function compare(before, after) {
  const old = new Map(before.map((film) => [film.movie_id, film.place]));
  const kept = new Set(after.map((film) => film.movie_id));
  const moves = { was: old, up: 0, down: 0, new: 0, gone: before.filter((film) => !kept.has(film.movie_id)) };
  for (const film of after) {
    const was = old.get(film.movie_id);
    if (was === undefined) moves.new += 1;
    else if (was > film.place) moves.up += 1;
    else if (was < film.place) moves.down += 1;
  }
  return moves;
}

/** The old place beside the new: an element, or null for a film that stays. */
export function moveMark(film, moves) {
  if (moves === null) return null;
  const was = moves.was.get(film.movie_id);
  if (was === undefined) return h("span", { class: "move new" }, t("move.new"));
  if (was === film.place) return null;
  const way = was > film.place ? "up" : "down";
  const spoken = t(`move.${way}`, { place: was });
  return h(
    "span",
    { class: `move ${way}`, title: spoken },
    h("span", { "aria-hidden": "true" }, way === "up" ? "↑" : "↓"),
    " ",
    h("span", {}, t("move.was", { place: was })),
  );
}

/** How many films moved, in words. */
export function summary({ up, down, new: fresh, gone }) {
  const still = up + down + fresh + gone.length === 0;
  return still ? t("moves.none") : t("moves.summary", { up, down, new: fresh, gone: gone.length });
}

/** The line above the list during a what-if or after a change. */
export function movesNote(state, moves, onBack) {
  if (moves === null) return null;
  const whatIf = state.whatIf.size > 0;
  return h(
    "div",
    { class: whatIf ? "moves whatif" : "moves" },
    h(
      "p",
      {},
      h("strong", {}, whatIf ? `${t("moves.whatif")} ${changes(state)}` : t("moves.since")),
      " ",
      summary(moves),
    ),
    whatIf && h("button", { type: "button", class: "strong", on: { click: onBack } }, t("moves.back")),
  );
}

function changes(state) {
  const titles = new Map(state.history.map((event) => [event.movie_id, event.title]));
  const gone = [...state.whatIf].filter(([, rating]) => rating === null).map(([id]) => titles.get(id));
  const words = gone.length
    ? [t("moves.removed", { titles: gone.map((title) => t("title.quoted", { title })).join(", ") })]
    : [];
  for (const [id, rating] of state.whatIf) {
    if (rating !== null) words.push(t("moves.changed", { title: titles.get(id), value: number(rating, 1) }));
  }
  return `${words.join(t("list.joint"))}:`;
}

/** Films that left the list, each a way to the question where it went. */
export function goneFilms(moves, onAsk) {
  if (moves === null || moves.gone.length === 0) return null;
  return h(
    "section",
    { class: "departed", "aria-label": t("moves.gone") },
    h("h2", {}, t("moves.gone")),
    h(
      "ul",
      {},
      moves.gone.map((film) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", "aria-label": t("moves.ask", { title: film.title }), on: { click: () => onAsk(film) } },
            poster(film),
            h("span", { class: "departed-title" }, film.title),
            h("span", { class: "departed-was" }, t("moves.gone.was", { place: film.place })),
          ),
        ),
      ),
    ),
  );
}
