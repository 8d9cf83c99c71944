// Title type of drawn posters: the largest size at which the title fits its block.

import { svg } from "../dom.js";

const FACES = {
  serif: '"Iowan Old Style", "Palatino Linotype", Palatino, "Source Serif 4", "Noto Serif CJK SC", Georgia, serif',
  sans: '"Avenir Next", "Helvetica Neue", "Segoe UI", "Noto Sans CJK SC", Arial, sans-serif',
};
const SIZES = [36, 32, 28, 25, 22, 19, 17, 15, 13, 11];
const LINE = 1.08;
let pen = null;

function widthOf(text, face, size) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = `700 ${size}px ${FACES[face]}`;
  return pen.measureText(text).width;
}

/** Words, and single characters of scripts that are written without spaces. */
function pieces(title) {
  return title.match(/[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+/g) ?? [];
}

function wrap(title, face, size, width) {
  const lines = [];
  for (const piece of pieces(title)) {
    const last = lines.at(-1);
    const joined = last === undefined ? piece : `${last} ${piece}`;
    if (last !== undefined && widthOf(joined, face, size) <= width) lines[lines.length - 1] = joined;
    else lines.push(piece);
  }
  return lines;
}

/** {lines, size} of the largest type with which the title fits; cut with an ellipsis where no size fits. */
export function fit(title, face, width, height) {
  for (const size of SIZES) {
    const lines = wrap(title, face, size, width);
    const widest = Math.max(0, ...lines.map((line) => widthOf(line, face, size)));
    if (widest <= width && lines.length * size * LINE <= height) return { lines, size };
  }
  const size = SIZES.at(-1);
  const room = Math.floor(height / (size * LINE));
  const lines = wrap(title, face, size, width).map((line) => shortened(line, face, size, width));
  if (lines.length > room) lines.splice(room - 1, lines.length, shortened(`${lines[room - 1]}…`, face, size, width));
  return { lines, size };
}

function shortened(line, face, size, width) {
  let text = line;
  while (text.length > 1 && widthOf(text, face, size) > width) text = `${text.replace(/…$/, "").slice(0, -1)}…`;
  return text;
}

/** Height of a block of type. */
export function heightOf({ lines, size }) {
  return lines.length * size * LINE;
}

/** A block of type whose top is at `y`. */
export function block({ lines, size }, { x, y, face, colour }) {
  return svg(
    "g",
    { fill: colour, "font-family": FACES[face], "font-weight": 700, "font-size": size },
    lines.map((line, at) => svg("text", { x, y: (y + size * (0.86 + at * LINE)).toFixed(1) }, line)),
  );
}
