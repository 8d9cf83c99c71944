// Stars to rate with: a slider for the keyboard and screen readers, a row to point at for everyone else.

import { h, svg } from "./dom.js";
import { number, t } from "./i18n.js";

const STAR = "M12 2.6l2.9 6.1 6.7.8-5 4.6 1.4 6.6L12 17.4l-6 3.3 1.4-6.6-5-4.6 6.7-.8z";
const SIZE = 24;
const PAUSE = 700;

/**
 * A rating control.
 *
 * `scale` is {low, high, step} of the data's ratings; null where events carry none, which gives a "seen" button.
 * `onRate(value)` is called once per choice: at a click, a digit, Enter, or a short pause after the arrow keys.
 */
export function stars({ title, value = null, scale, onRate }) {
  if (scale === null) return seenButton(title, value, onRate);
  const n = Math.ceil(scale.high);
  const filled = svg("svg", { class: "stars-on", viewBox: `0 0 ${n * SIZE} ${SIZE}`, height: SIZE }, row(n));
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${n * SIZE} ${SIZE}`, "aria-hidden": "true" },
    row(n, "stars-off"),
    filled,
  );
  const element = h(
    "div",
    {
      class: "stars",
      role: "slider",
      tabindex: 0,
      "aria-label": t("stars.label", { title }),
      "aria-valuemin": scale.low,
      "aria-valuemax": scale.high,
    },
    drawing,
  );
  let shown = value;
  let timer = null;

  const show = (rating, { saved = true } = {}) => {
    const width = (rating ?? 0) * SIZE;
    filled.setAttribute("viewBox", `0 0 ${Math.max(width, 0.01)} ${SIZE}`);
    filled.setAttribute("width", width);
    if (!saved) return;
    shown = rating;
    element.setAttribute("aria-valuenow", rating ?? scale.low);
    element.setAttribute(
      "aria-valuetext",
      rating === null ? t("stars.none") : t("stars.value", { value: number(rating, 1), max: n }),
    );
    element.classList.toggle("rated", rating !== null);
  };
  const commit = () => {
    clearTimeout(timer);
    timer = null;
    if (shown !== value) onRate(shown);
  };
  const later = (rating) => {
    show(clamp(rating, scale));
    clearTimeout(timer);
    timer = setTimeout(commit, PAUSE);
  };
  const now = (rating) => {
    show(clamp(rating, scale));
    clearTimeout(timer);
    onRate(shown);
  };
  const pointed = (event) => {
    const box = drawing.getBoundingClientRect();
    return clamp(Math.ceil((((event.clientX - box.left) / box.width) * n) / scale.step) * scale.step, scale);
  };
  element.addEventListener(
    "pointermove",
    (event) => event.pointerType !== "touch" && show(pointed(event), { saved: false }),
  );
  element.addEventListener("pointerleave", () => show(shown));
  element.addEventListener("click", (event) => now(pointed(event)));
  element.addEventListener("blur", () => timer !== null && commit());
  element.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) later((shown ?? scale.low - scale.step) + steps[event.key] * scale.step);
    else if (event.key === "Home") later(scale.low);
    else if (event.key === "End") later(scale.high);
    else if (/^[0-9]$/.test(event.key) && Number(event.key) <= n) now(Number(event.key));
    else if ((event.key === "Enter" || event.key === " ") && timer !== null) commit();
    else return;
    event.preventDefault();
  });
  show(value);
  return element;
}

function row(n, name = null) {
  return svg(
    "g",
    { class: name },
    Array.from({ length: n }, (_, at) => svg("path", { d: STAR, transform: `translate(${at * SIZE} 0)` })),
  );
}

function clamp(rating, { low, high }) {
  return Math.min(high, Math.max(low, rating));
}

function seenButton(title, value, onRate) {
  const label = t("seen.label", { title });
  return h(
    "button",
    {
      class: "quiet",
      type: "button",
      "aria-label": label,
      "aria-pressed": value !== null,
      on: { click: () => onRate(null) },
    },
    t("seen"),
  );
}

/** {low, high, step} of the service's data, or null. */
export function scaleOf({ rating_scale: scale, rating_step: step }) {
  return scale ? { low: scale[0], high: scale[1], step: step || 1 } : null;
}
