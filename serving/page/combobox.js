// A search field with suggestions as you type (the combobox pattern of the ARIA practices guide).

import { Latest } from "./api.js";
import { arrange, freshId, h, hidden } from "./dom.js";
import { t } from "./i18n.js";

const PAUSE = 120;

/**
 * `search(text, signal)` resolves to values, `option(value)` draws one, `onChoose(value)` takes the chosen one.
 * `none` names the words for no result.
 */
export function combobox({ label, placeholder, search, option, onChoose, none, showLabel = true }) {
  const ids = { input: freshId("search"), list: freshId("options") };
  const latest = new Latest();
  let values = [];
  let active = -1;
  let timer = null;
  let chooseFirst = false; // Enter came before the suggestions of the text did
  let fresh = false; // the suggestions are those of the text

  const input = h("input", {
    id: ids.input,
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    placeholder,
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": ids.list,
  });
  const list = h("ul", { id: ids.list, class: "options", role: "listbox", "aria-label": label, hidden: true });
  const status = h("div", { class: "sr", role: "status" });
  const message = h("p", { class: "options none", hidden: true });

  const close = () => {
    clearTimeout(timer);
    latest.cancel();
    list.hidden = message.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
    fresh = chooseFirst = false;
  };
  const choose = (value) => {
    input.value = "";
    close();
    onChoose(value);
  };
  const move = (to) => {
    if (list.hidden || values.length === 0) return;
    active = (to + values.length) % values.length;
    [...list.children].forEach((child, at) => child.setAttribute("aria-selected", String(at === active)));
    input.setAttribute("aria-activedescendant", list.children[active].id);
    list.children[active].scrollIntoView({ block: "nearest" });
  };
  const show = (found) => {
    values = found;
    active = -1;
    arrange(
      list,
      found.map((value) =>
        h(
          "li",
          {
            id: freshId("option"),
            role: "option",
            "aria-selected": "false",
            on: { pointerdown: (event) => event.preventDefault(), click: () => choose(value) },
          },
          option(value),
        ),
      ),
    );
    list.hidden = found.length === 0;
    message.hidden = found.length > 0;
    message.textContent = t(none);
    input.setAttribute("aria-expanded", String(found.length > 0));
    input.removeAttribute("aria-activedescendant");
    status.textContent = found.length ? t("search.count", { count: found.length }) : t(none);
  };
  const look = async () => {
    const text = input.value.trim();
    try {
      const found = await latest.run((signal) => search(text, signal));
      if (found === undefined || document.activeElement !== input || text !== input.value.trim()) return;
      fresh = true;
      if (chooseFirst && found.length) choose(found[0]);
      else show(found);
      chooseFirst = false;
    } catch (error) {
      list.hidden = true;
      message.hidden = false;
      message.textContent = t(`error.${error.code ?? "internal"}`);
    }
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    fresh = chooseFirst = false;
    timer = setTimeout(look, PAUSE);
  });
  input.addEventListener("focus", look);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") list.hidden ? look() : move(active + 1);
    else if (event.key === "ArrowUp") move(active - 1);
    else if (event.key === "Enter" && !fresh) chooseFirst = input.value.trim() !== "";
    else if (event.key === "Enter" && !list.hidden) choose(values[Math.max(active, 0)]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  return h(
    "div",
    { class: "combobox" },
    h("label", { for: ids.input, class: showLabel ? "label" : "sr" }, label),
    input,
    list,
    message,
    status,
  );
}

/** A film among suggestions. */
export function filmOption(film) {
  return [
    h("span", { class: "option-title" }, film.title),
    film.year ? h("span", { class: "option-year" }, String(film.year)) : null,
    hidden(film.genres.join(", ")),
  ];
}
