// Variety and filters above the list.

import { byId, freshId, h } from "./dom.js";
import { cost, curve } from "./curve.js";
import { genre, number, t } from "./i18n.js";

const PHONE = "(max-width: 520px)"; // there the filters are folded away at first
const KNOWN = [20, 50, 100, 200];

/** Draw the controls once per language. `actions`: setDiversity(value | null), setFilters(changes). */
export function drawControls(state, actions) {
  const filters = h(
    "details",
    { class: "filters" },
    h("summary", {}, t("filter.title")),
    state.info.genres.length ? genres(state, actions) : null,
    rest(state, actions),
  );
  const phone = matchMedia(PHONE);
  filters.open = !phone.matches || isFiltered(state.filters);
  phone.onchange = () => {
    filters.open = !phone.matches;
  };
  byId("controls").replaceChildren(...(state.info.has_diversity ? [variety(state, actions)] : []), filters);
  showTradeOffs(state);
}

/** The slider's position; the configured one until it is moved. */
function diversityOf(state) {
  return state.diversity ?? state.info.default_diversity ?? 0;
}

/** Draw the curve and its sentence for the current points and position. */
export function showTradeOffs(state) {
  if (!state.info.has_diversity) return;
  const value = diversityOf(state);
  byId("variety-curve").replaceChildren(curve(state.points, value));
  byId("variety-cost").textContent = cost(state.points, value);
  byId("variety-value").textContent = number(value, 2);
  byId("variety").setAttribute("aria-valuetext", t("variety.now", { value: number(value, 2) }));
  byId("variety-reset").hidden = state.diversity === null;
}

function variety(state, actions) {
  const slider = h("input", {
    id: "variety",
    type: "range",
    min: 0,
    max: 1,
    step: 0.1,
    "aria-describedby": "variety-cost",
    on: { input: (event) => actions.setDiversity(Number(event.target.value)) },
  });
  slider.value = diversityOf(state);
  const reset = () => {
    actions.setDiversity(null);
    slider.value = diversityOf(state);
    slider.focus();
  };
  return h(
    "div",
    { class: "control variety" },
    h(
      "div",
      { class: "variety-left" },
      h(
        "label",
        { for: "variety", class: "label" },
        t("variety.title"),
        " ",
        h("output", { id: "variety-value", for: "variety" }),
      ),
      slider,
      h(
        "div",
        { class: "ends", "aria-hidden": "true" },
        h("span", {}, t("variety.low")),
        h("span", {}, t("variety.high")),
      ),
      h("p", { id: "variety-cost", class: "faint" }),
      h("button", { id: "variety-reset", type: "button", class: "quiet", on: { click: reset } }, t("variety.reset")),
    ),
    h(
      "div",
      { class: "variety-right" },
      h("span", { class: "axis-name", "aria-hidden": "true" }, t("variety.y")),
      h("div", { id: "variety-curve" }),
      h("span", { class: "axis-name end", "aria-hidden": "true" }, t("variety.x")),
    ),
  );
}

function genres(state, actions) {
  const hint = freshId("hint");
  const pills = state.info.genres.map((name) => {
    const button = h("button", { type: "button", class: "pill", "aria-describedby": hint });
    const show = () => {
      const mode = modeOf(state.filters, name);
      button.className = `pill ${mode}`;
      button.setAttribute("aria-label", t(`filter.${mode}`, { genre: genre(name) }));
    };
    button.append(genre(name));
    button.addEventListener("click", () => {
      actions.setFilters(turned(state.filters, name));
      show();
    });
    show();
    return button;
  });
  return h(
    "div",
    { class: "control genre-filter", role: "group", "aria-label": t("filter.genres") },
    h(
      "p",
      { class: "label" },
      t("filter.genres"),
      " ",
      h("span", { id: hint, class: "hint" }, t("filter.genres.hint")),
    ),
    h("div", { class: "pills" }, pills),
  );
}

function modeOf(filters, name) {
  if (filters.genres.includes(name)) return "only";
  return filters.not_genres.includes(name) ? "not" : "any";
}

/** any → only → not → any. */
function turned({ genres: wanted, not_genres: unwanted }, name) {
  if (wanted.includes(name)) return { genres: wanted.filter((one) => one !== name), not_genres: [...unwanted, name] };
  if (unwanted.includes(name)) return { not_genres: unwanted.filter((one) => one !== name) };
  return { genres: [...wanted, name] };
}

function rest(state, actions) {
  const { years } = state.info;
  const ids = { from: freshId("year"), to: freshId("year"), known: freshId("known") };
  const year = (id, key, label, placeholder) => {
    const on = { change: () => actions.setFilters(inOrder(from, to, years)) };
    const [min, max] = years;
    const given = { id, type: "number", inputmode: "numeric", min, max, placeholder, "aria-label": label, on };
    const input = h("input", given);
    input.value = state.filters[key] ?? "";
    return input;
  };
  const from = years && year(ids.from, "year_from", t("filter.from"), years[0]);
  const to = years && year(ids.to, "year_to", t("filter.to"), years[1]);
  const known = h(
    "select",
    {
      id: ids.known,
      on: { change: (event) => actions.setFilters({ min_ratings: Number(event.target.value) || null }) },
    },
    h("option", { value: "" }, t("filter.ratings.any")),
    KNOWN.map((count) => h("option", { value: count }, t("filter.ratings", { count }))),
  );
  known.value = state.filters.min_ratings ?? "";
  return h(
    "div",
    { class: "control rest" },
    years
      ? h(
          "div",
          { role: "group", "aria-label": t("filter.years") },
          h("p", { class: "label" }, t("filter.years")),
          h(
            "div",
            { class: "years" },
            from,
            h("span", { "aria-hidden": "true" }, "–"),
            to,
          ),
        )
      : null,
    h("div", {}, h("label", { class: "label", for: ids.known }, t("filter.known")), known),
    h(
      "button",
      {
        id: "filter-clear",
        type: "button",
        class: "quiet",
        hidden: !isFiltered(state.filters),
        on: { click: actions.clearFilters },
      },
      t("filter.clear"),
    ),
  );
}

/** The years of both fields, within those of the catalogue and the earlier one first, as the fields show them then. */
function inOrder(from, to, [first, last]) {
  const yearOf = ({ value }) => (value === "" ? null : Math.min(Math.max(Math.round(Number(value)), first), last));
  let [low, high] = [yearOf(from), yearOf(to)];
  if (low !== null && high !== null && low > high) [low, high] = [high, low];
  from.value = low ?? "";
  to.value = high ?? "";
  return { year_from: low, year_to: high };
}

export function isFiltered({ genres: wanted, not_genres: unwanted, ...rest_ }) {
  return wanted.length + unwanted.length > 0 || Object.values(rest_).some((value) => value !== null);
}
