// The panel "Whose taste?": a stored user or one's own ratings, a search to rate films, and the history.

import * as api from "./api.js";
import { combobox, filmOption } from "./combobox.js";
import { byId, h } from "./dom.js";
import { genre, number, t } from "./i18n.js";
import { stars } from "./stars.js";

const FEW = { wide: 12, narrow: 6, phone: 3 };
let parts = null;

/**
 * Draw the panel once per language. `actions`: setMode(mode), chooseUser(user), rate(film, rating),
 * change(event, rating | null), restore(event), clearOwn().
 */
export function drawTaste(state, actions) {
  parts = {
    tabs: h("div", { class: "tabs", role: "group", "aria-label": t("taste.title") }),
    user: combobox({
      label: t("taste.pick"),
      placeholder: t("taste.pick.placeholder"),
      none: "users.none",
      option: userOption,
      search: async (text, signal) => (await api.users(text, signal)).users,
      onChoose: actions.chooseUser,
    }),
    film: combobox({
      label: t("taste.search"),
      placeholder: t("taste.search.placeholder"),
      none: "search.none",
      option: filmOption,
      search: async (text, signal) => (await api.movies(text, signal)).movies,
      onChoose: (film) => pending(film, state, actions),
    }),
    pending: h("div", { class: "pending" }),
    head: h("div", { class: "history-head" }),
    list: h("ul", { class: "history" }),
    foot: h("div", { class: "history-foot" }),
  };
  byId("taste").replaceChildren(
    h("h2", {}, t("taste.title")),
    parts.tabs,
    parts.user,
    parts.film,
    parts.pending,
    parts.head,
    parts.list,
    parts.foot,
  );
  showTaste(state, actions);
}

/** Bring the panel up to date. */
export function showTaste(state, actions) {
  const own = state.mode === "own";
  parts.tabs.replaceChildren(
    ...["own", "user"].map((mode) =>
      h(
        "button",
        { type: "button", "aria-pressed": String(state.mode === mode), on: { click: () => actions.setMode(mode) } },
        t(`taste.${mode}`),
      ),
    ),
  );
  parts.user.hidden = own;
  parts.film.hidden = !own && state.user === null;
  showHead(state, actions);
  const events = shownEvents(state);
  const focused = [...parts.list.children].findIndex((row) => row.contains(document.activeElement));
  parts.list.replaceChildren(...events.map((event) => row(event, state, actions)));
  if (focused >= 0)
    parts.list.children[Math.min(focused, events.length - 1)]?.querySelector("button, [tabindex]")?.focus();
  showFoot(state, actions);
}

/** The latest events; those that a what-if changes come first, wherever they are in the history. */
function shownEvents({ history, whatIf, expanded }) {
  if (expanded) return history;
  const changed = history.filter((event) => whatIf.has(event.movie_id));
  return [...changed, ...history.filter((event) => !whatIf.has(event.movie_id))].slice(
    0,
    Math.max(few(), changed.length),
  );
}

function few() {
  if (matchMedia("(max-width: 520px)").matches) return FEW.phone;
  return matchMedia("(max-width: 1020px)").matches ? FEW.narrow : FEW.wide;
}

function showHead(state, actions) {
  const { history, mode, user } = state;
  const name = mode === "user" && user !== null ? t("user.name", { id: user.user_id }) : t("kicker.own");
  const empty = mode === "own" ? "taste.own.empty" : user === null ? "taste.user.empty" : "taste.user.none";
  if (history.length === 0) {
    parts.head.replaceChildren(h("p", { class: "hint" }, t(state.loadingHistory ? "headline.loading" : empty)));
    return;
  }
  parts.head.replaceChildren(
    h(
      "p",
      {},
      h("strong", {}, name),
      " ",
      h("span", { class: "faint" }, t("taste.ratings", { count: history.length })),
    ),
    mode === "own"
      ? h("button", { type: "button", class: "quiet", on: { click: actions.clearOwn } }, t("taste.clear"))
      : "",
  );
}

function showFoot(state, actions) {
  const more =
    state.history.length > few() &&
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-expanded": String(state.expanded),
        on: {
          click: () => {
            state.expanded = !state.expanded;
            showTaste(state, actions);
          },
        },
      },
      state.expanded ? t("taste.fewer") : t("taste.all", { count: state.history.length }),
    );
  const live = state.mode === "user" && state.history.length > 0 && h("p", { class: "hint" }, t("taste.live"));
  parts.foot.replaceChildren(...[more, live].filter(Boolean));
}

/** A film that was searched and waits for its stars. */
function pending(film, state, actions) {
  const close = () => parts.pending.replaceChildren();
  const control = stars({
    title: film.title,
    scale: state.scale,
    onRate: (rating) => {
      close();
      actions.rate(film, rating);
    },
  });
  parts.pending.replaceChildren(
    h(
      "div",
      { class: "pending-film" },
      h("p", {}, h("strong", {}, film.label ?? film.title), h("br"), t("taste.pending")),
      control,
      h("button", { type: "button", class: "quiet", on: { click: close } }, t("taste.cancel")),
    ),
  );
  control.focus();
}

function row(event, state, actions) {
  const changed = state.whatIf.has(event.movie_id);
  const rating = changed ? state.whatIf.get(event.movie_id) : event.rating;
  const gone = changed && rating === null;
  const note = gone ? t("removed.mark") : changed ? t("was.rated", { value: number(event.rating ?? 0, 1) }) : null;
  return h(
    "li",
    { class: gone ? "event gone" : changed ? "event changed" : "event" },
    h(
      "div",
      { class: "event-title" },
      h("span", {}, event.title),
      event.year ? h("span", { class: "faint" }, ` ${event.year}`) : null,
      note ? h("span", { class: "event-note" }, note) : null,
    ),
    h(
      "div",
      { class: "event-tools" },
      gone || state.scale === null
        ? null
        : stars({
            title: event.title,
            value: rating,
            scale: state.scale,
            onRate: (value) => actions.change(event, value),
          }),
      changed
        ? h(
            "button",
            {
              type: "button",
              class: "quiet",
              "aria-label": t("restore", { title: event.title }),
              on: { click: () => actions.restore(event) },
            },
            t("restore.short"),
          )
        : h(
            "button",
            {
              type: "button",
              class: "icon",
              "aria-label": t("remove", { title: event.title }),
              on: { click: () => actions.change(event, null) },
            },
            "×",
          ),
    ),
  );
}

function userOption(user) {
  return [
    h("span", { class: "option-title" }, t("user.name", { id: user.user_id })),
    h("span", { class: "option-year" }, t("user.option", { count: user.events })),
    h("span", { class: "option-more" }, user.genres.map(genre).join(" · ")),
  ];
}
