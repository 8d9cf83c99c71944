// Language, and light or dark.

import { byId, h } from "./dom.js";
import { chooseLanguage, currentLanguage, t } from "./i18n.js";
import { remember } from "./storage.js";

/** Draw the switches; `redraw` is called after a change of language. */
export function drawSwitches(redraw) {
  const languages = [
    ["en", "EN", "English"],
    ["zh", "中文", "中文"],
  ].map(([name, short, full]) =>
    h(
      "button",
      {
        type: "button",
        lang: name === "zh" ? "zh-CN" : name,
        "aria-label": full,
        "aria-pressed": String(currentLanguage() === name),
        on: {
          click: () => {
            if (currentLanguage() === name) return;
            chooseLanguage(name);
            redraw();
            byId("switches").querySelector('[aria-pressed="true"]')?.focus();
          },
        },
      },
      short,
    ),
  );
  byId("switches").replaceChildren(
    h("div", { class: "languages", role: "group", "aria-label": t("switch.language") }, languages),
    darkSwitch(),
  );
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function darkSwitch() {
  const button = h(
    "button",
    {
      id: "dark",
      type: "button",
      role: "switch",
      "aria-checked": String(isDark()),
      "aria-label": t("switch.dark"),
      class: "theme",
    },
    h("span", { class: "theme-icon", "aria-hidden": "true" }),
  );
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    remember("theme", theme);
    button.setAttribute("aria-checked", String(theme === "dark"));
  });
  return button;
}
