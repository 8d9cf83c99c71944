// Errors and warnings in words.

import { freshId, h } from "./dom.js";
import { component, t } from "./i18n.js";

const PASSING = new Set(["offline", "rate_limited", "not_ready", "internal"]);

/**
 * An error as a box with what can be done: trying again where it may have passed. `onKey(key)` takes an API key where
 * the service asks for one.
 */
export function errorBox(error, retry, onKey = null) {
  const code = error.code ?? "internal";
  const mayPass = PASSING.has(code);
  return h(
    "div",
    { class: "notice error", role: "alert" },
    h("p", { class: "notice-title" }, t("error.title")),
    h(
      "p",
      {},
      t(`error.${code}`),
      mayPass && error.message && code !== "offline"
        ? h("span", { class: "faint", lang: "en" }, ` ${error.message}`)
        : null,
    ),
    error.fields?.length
      ? h(
          "ul",
          { lang: "en" },
          error.fields.map((one) => h("li", {}, h("code", {}, one.field), ` ${one.message}`)),
        )
      : null,
    mayPass && error.traceId ? h("p", { class: "faint" }, t("error.trace", { id: error.traceId })) : null,
    code === "unauthorised" && onKey ? keyForm(onKey) : null,
    mayPass ? h("button", { type: "button", class: "strong", on: { click: retry } }, t("error.retry")) : null,
  );
}

function keyForm(onKey) {
  const id = freshId("key");
  const input = h("input", { id, type: "password", autocomplete: "off" });
  const send = () => onKey(input.value);
  input.addEventListener("keydown", (event) => event.key === "Enter" && send());
  return h(
    "div",
    { class: "key" },
    h("label", { for: id }, t("key.label")),
    input,
    h("button", { type: "button", class: "strong", on: { click: send } }, t("key.send")),
  );
}

/** What the answer had to do without, or null. */
export function degradedNote(answer) {
  const failed = answer.trace.stages.filter((stage) => stage.error);
  if (!answer.degraded && failed.length === 0) return null;
  const names = [...new Set(failed.map((stage) => component(stage.name)))].join(", ");
  return h(
    "div",
    { class: "notice", role: "status" },
    h("p", {}, names ? t("degraded", { names }) : t("degraded.some")),
    failed.length
      ? h("p", { class: "faint", lang: "en" }, failed.map((stage) => `${stage.name}: ${stage.error}`).join("; "))
      : null,
  );
}

/** Films of the history that the service's catalogue does not have, or null. */
export function unknownNote(answer) {
  const count = answer.unknown.length;
  return count === 0 ? null : h("div", { class: "notice" }, h("p", {}, t("unknown", { count })));
}
