// The list: one card per film. A film keeps its element while it stays in the list, so that it can glide to its place.

import { arrange, byId, h, hidden } from "./dom.js";
import { glide } from "./flip.js";
import { genre, number, t } from "./i18n.js";
import { moveMark } from "./moves.js";
import { poster } from "./poster.js";
import { stars } from "./stars.js";
import { way } from "./way.js";

const cards = new Map();

/** Show the films. `actions`: rate(film, rating), without(reason). */
export function showFilms(films, { moves, info, scale, events, actions }) {
  const list = byId("films");
  list.removeAttribute("aria-busy");
  list.classList.remove("waiting");
  const wanted = films.map((film) => {
    const card = cards.get(film.movie_id) ?? newCard(film);
    update(card, film, { moves, info, scale, events, actions });
    return card.element;
  });
  glide(list, () => arrange(list, wanted));
  for (const [id, card] of cards) if (!card.element.isConnected) cards.delete(id);
}

/** Grey shapes of the same size as cards, so that nothing jumps when films come. */
export function showSkeletons(count) {
  cards.clear();
  const list = byId("films");
  list.setAttribute("aria-busy", "true");
  list.replaceChildren(
    ...Array.from({ length: count }, () =>
      h(
        "li",
        { class: "film skeleton", "aria-hidden": "true" },
        h("div", { class: "film-head" }),
        h("div", { class: "frame" }),
        h(
          "div",
          { class: "film-text" },
          h("div", { class: "bone" }),
          h("div", { class: "bone short" }),
          h("div", { class: "bone" }),
        ),
      ),
    ),
  );
}

/** The list on the page is being replaced. */
export function dimFilms() {
  byId("films").setAttribute("aria-busy", "true");
  byId("films").classList.add("waiting");
}

export function clearFilms() {
  cards.clear();
  byId("films").removeAttribute("aria-busy");
  byId("films").replaceChildren();
}

function newCard(film) {
  const parts = {
    head: h("div", { class: "film-head" }),
    text: h("div", { class: "film-text" }),
  };
  const element = h("li", { class: "film" }, parts.head, h("div", { class: "frame" }, poster(film)), parts.text);
  const card = { element, ...parts, open: false };
  cards.set(film.movie_id, card);
  return card;
}

function update(card, film, { moves, info, scale, events, actions }) {
  const held = focusOf(card);
  card.head.replaceChildren(
    h("span", { class: "place" }, hidden(`${t("card.place", { place: "" })} `), number(film.place)),
    moveMark(film, moves) ?? "",
  );
  const details = way(film, info);
  details.open = card.open;
  details.addEventListener("toggle", () => {
    card.open = details.open;
  });
  card.text.replaceChildren(
    h(
      "div",
      { class: "film-title" },
      h("h2", {}, film.title, film.year ? h("span", { class: "year" }, ` (${film.year})`) : null),
      h("p", { class: "genres" }, film.genres.map(genre).join(" · ")),
    ),
    why(film, events, actions),
    details,
    h(
      "div",
      { class: "film-rate" },
      stars({
        title: film.title,
        value: events.get(film.movie_id)?.rating ?? null,
        scale,
        onRate: (rating) => actions.rate(film, rating),
      }),
    ),
  );
  if (held !== null) card.text.querySelectorAll("button, summary, [tabindex]")[held]?.focus();
}

/** Which control of the card has the focus, so that it keeps it when the words around it change. */
function focusOf(card) {
  const controls = [...card.text.querySelectorAll("button, summary, [tabindex]")];
  const at = controls.indexOf(document.activeElement);
  return at < 0 ? null : at;
}

/** Why the film is here: the events of the history that lifted it most, each a what-if of the list without it. */
function why(film, events, actions) {
  if (film.reasons.length === 0) {
    return h(
      "div",
      { class: "why" },
      h("p", { class: "why-lead" }, t(events.size ? "card.no-reason" : "card.popular")),
      film.ratings ? h("p", { class: "faint" }, t("card.rated-by", { count: film.ratings })) : null,
    );
  }
  const rated = film.reasons.some((reason) => (events.get(reason.movie_id)?.rating ?? null) !== null);
  return h(
    "div",
    { class: "why" },
    h("p", { class: "why-lead" }, t(rated ? "card.because" : "card.because.seen")),
    h(
      "ul",
      {},
      film.reasons.map((reason) => h("li", {}, reasonButton(reason, events.get(reason.movie_id), actions))),
    ),
  );
}

function reasonButton(reason, event, actions) {
  const title = event?.title ?? reason.title;
  const label = t("card.without", { title });
  const value = event?.rating ? h("span", { class: "why-rating" }, `${number(event.rating, 1)}★`) : null;
  return h(
    "button",
    { type: "button", class: "reason", title: label, on: { click: () => actions.without(reason) } },
    h("span", { class: "reason-title" }, title),
    value,
    hidden(` – ${label}`),
    h("span", { class: "cross", "aria-hidden": "true" }, "×"),
  );
}
