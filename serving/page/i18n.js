// Words of the page in the chosen language.

import en from "./i18n/en.js";
import zh from "./i18n/zh.js";
import { recall, remember } from "./storage.js";

const LANGUAGES = { en, zh };
const TAGS = { en: "en", zh: "zh-CN" };

let language = initial();

function initial() {
  const stored = recall("language");
  if (stored in LANGUAGES) return stored;
  return navigator.language?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function currentLanguage() {
  return language;
}

export function chooseLanguage(name) {
  language = name;
  remember("language", name);
}

/** The words of a key with `{name}` filled in; a key with plural forms chooses by `values.count`. */
export function t(key, values = {}) {
  const found = LANGUAGES[language][key];
  const form = typeof found === "string" ? found : found[new Intl.PluralRules(TAGS[language]).select(values.count)];
  return (form ?? found.other).replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));
}

function shown(value) {
  return typeof value === "number" ? number(value) : String(value ?? "");
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(TAGS[language], { maximumFractionDigits: digits }).format(value);
}

export function percent(share) {
  return new Intl.NumberFormat(TAGS[language], { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** Milliseconds with as many digits as are readable. */
export function milliseconds(value) {
  return t("ms", { value: number(value, value < 1 ? 2 : value < 100 ? 1 : 0) });
}

/** A genre's name; data with other genres keeps its own words. */
export function genre(name) {
  return LANGUAGES[language][`genre.${name}`] ?? name;
}

/** A channel's, ranker's or reranker's name; others keep their own. */
export function component(name) {
  return LANGUAGES[language][`component.${name}`] ?? name;
}

/** The shares of a blend, such as "75% itemcf_prior, 25% deepfm", with the names of its parts for people. */
export function blend(shares) {
  return shares.replace(/(\d+%) ([^,]+)/g, (_, share, name) => `${share} ${component(name)}`);
}

/** Put the words into the elements of the page that name a key. */
export function translate(root) {
  document.documentElement.lang = TAGS[language];
  document.title = t("page.title");
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const element of root.querySelectorAll("[data-t-placeholder]")) {
    element.placeholder = t(element.dataset.tPlaceholder);
  }
}
