// Short messages with an undo, at the edge of the page. They stay while pointed at or focused.

import { byId, h } from "./dom.js";
import { t } from "./i18n.js";

const STAY = 8000;

/** Show words, and an undo button where `undo` is given. */
export function toast(text, undo = null) {
  const box = byId("toasts");
  const close = () => element.remove();
  const element = h(
    "div",
    { class: "toast" },
    h("p", {}, text),
    undo &&
      h(
        "button",
        {
          type: "button",
          class: "strong",
          on: {
            click: () => {
              close();
              undo();
            },
          },
        },
        t("toast.undo"),
      ),
    h("button", { type: "button", class: "icon", "aria-label": t("toast.close"), on: { click: close } }, "×"),
  );
  box.replaceChildren(element);
  let timer = setTimeout(close, STAY);
  const hold = () => clearTimeout(timer);
  const release = () => {
    clearTimeout(timer);
    timer = setTimeout(close, STAY);
  };
  element.addEventListener("pointerenter", hold);
  element.addEventListener("focusin", hold);
  element.addEventListener("pointerleave", release);
  element.addEventListener("focusout", release);
}
