// Flat shapes of drawn posters.

import { svg } from "../dom.js";

export const circle = (x, y, r, fill, more = {}) => svg("circle", { cx: x, cy: y, r, fill, ...more });
export const rect = (x, y, width, height, fill, more = {}) => svg("rect", { x, y, width, height, fill, ...more });
export const path = (d, fill, more = {}) => svg("path", { d, fill, ...more });
export const line = (d, stroke, width, more = {}) =>
  svg("path", { d, fill: "none", stroke, "stroke-width": width, ...more });

/** A star of `n` rays. */
export function star(x, y, outer, inner, n, fill, turn = 0) {
  const points = Array.from({ length: 2 * n }, (_, at) => {
    const angle = turn + (Math.PI * at) / n - Math.PI / 2;
    const radius = at % 2 === 0 ? outer : inner;
    return `${(x + radius * Math.cos(angle)).toFixed(1)},${(y + radius * Math.sin(angle)).toFixed(1)}`;
  });
  return svg("polygon", { points: points.join(" "), fill });
}

/** A half disc with its flat side down, turned by `turn` degrees. */
export function half(x, y, r, fill, turn = 0) {
  return path(`M${-r},0A${r},${r} 0 0 1 ${r},0Z`, fill, { transform: `translate(${x} ${y}) rotate(${turn})` });
}

/** The outline where two circles overlap. */
export function lens(x1, y1, r1, x2, y2, r2) {
  const d = Math.hypot(x2 - x1, y2 - y1);
  const along = (d * d + r1 * r1 - r2 * r2) / (2 * d);
  const away = Math.sqrt(r1 * r1 - along * along);
  const [ux, uy] = [(x2 - x1) / d, (y2 - y1) / d];
  const [mx, my] = [x1 + along * ux, y1 + along * uy];
  const [ax, ay, bx, by] = [mx + away * uy, my - away * ux, mx - away * uy, my + away * ux];
  return `M${ax},${ay}A${r1},${r1} 0 0 1 ${bx},${by}A${r2},${r2} 0 0 1 ${ax},${ay}Z`;
}
