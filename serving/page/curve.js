// What variety costs and gains, drawn from the user's own candidates.

import { h, svg } from "./dom.js";
import { number, percent, t } from "./i18n.js";

const WIDTH = 190;
const HEIGHT = 84;
const LEFT = 8;
const TOP = 10;
const LEAST = 0.2; // of an axis: what is nearly equal must not look far apart

/** The curve over all settings, with the current one marked. `points` may be null while they are computed. */
export function curve(points, diversity) {
  if (points === null || points.length < 2) return h("div", { class: "curve waiting" });
  const here = nearest(points, diversity);
  const x = scale(
    points.map((point) => point.genre_diversity),
    LEFT,
    WIDTH - LEFT,
  );
  const y = scale(
    points.map((point) => point.relevance),
    HEIGHT - TOP,
    TOP,
  );
  const at = (point) => `${x(point.genre_diversity).toFixed(1)},${y(point.relevance).toFixed(1)}`;
  const label = t("variety.curve", { relevance: percent(here.relevance), diversity: number(here.genre_diversity, 2) });
  return svg(
    "svg",
    { class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    svg("path", { class: "axis", d: `M${LEFT},${TOP - 6}V${HEIGHT - 2}H${WIDTH - 2}` }),
    svg("polyline", { class: "trade", points: points.map(at).join(" ") }),
    points.map((point) =>
      svg("circle", { class: "setting", cx: x(point.genre_diversity), cy: y(point.relevance), r: 2 }),
    ),
    svg("path", { class: "guide", d: `M${at(here)}V${HEIGHT - 2}M${at(here)}H${LEFT}` }),
    svg("circle", { class: "here", cx: x(here.genre_diversity), cy: y(here.relevance), r: 5 }),
  );
}

/** The sentence of a setting. */
export function cost(points, diversity) {
  if (points === null || points.length === 0) return "";
  const here = nearest(points, diversity);
  const base = points[0].genre_diversity;
  const gain = base > 0 ? here.genre_diversity / base - 1 : 0;
  return t("variety.cost", {
    relevance: percent(here.relevance),
    diversity: `${gain < 0 ? "−" : "+"}${percent(Math.abs(gain))}`,
  });
}

export function nearest(points, diversity) {
  return points.reduce((best, point) =>
    Math.abs(point.diversity - diversity) < Math.abs(best.diversity - diversity) ? point : best,
  );
}

/** A linear scale from the values' range, or from `LEAST` around it, to pixels. */
function scale(values, from, to) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const span = Math.max(high - low, LEAST);
  return (value) => from + ((value - (low + high) / 2) / span + 0.5) * (to - from);
}
