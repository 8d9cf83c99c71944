// Pictures of drawn posters: crime, fear and war. Each is drawn in a box of 200 × 200; `c` holds three colours of
// shapes (a, b, c) and the ground, `random` varies size, number and place.

import { between, oneOf, range } from "./random.js";
import { circle, half, line, path, rect, star } from "./shapes.js";

function crime(c, random) {
  const x = between(random, 62, 138);
  const slats = range(9).map((at) => rect(-10, 8 + at * 22, 220, 9, c.b));
  return [
    circle(x, 100, 64, c.a),
    ...slats,
    path(`M${x - 26},200v-44q0,-22 14,-26a20,20 0 1 1 24,0q14,4 14,26v44Z`, c.c),
    path(`M${x - 34},100q34,-9 68,0l-8,-6q-2,-24 -14,-24q-8,4 -12,4t-12,-4q-12,0 -14,24Z`, c.b),
  ];
}

function tracks(c, random) {
  const y = between(random, 52, 74);
  const print = "M-17,-44a17,26 0 1 1 34,0q0,20 -7,34h-20q-7,-14 -7,-34ZM-11,0h22q1,24 -11,25t-11,-25Z";
  return [0, 1, 2].map((at) =>
    path(print, at === 1 ? c.a : c.b, {
      transform: `translate(${52 + at * 48} ${y + 30 + at * 44}) rotate(${at % 2 ? 24 : 8}) scale(.72)`,
    }),
  );
}

function mansion(c, random) {
  const x = between(random, 120, 158);
  const lit = Math.floor(between(random, 0, 4));
  return [
    circle(x, 60, 34, c.c),
    path("M30,205V112l26,-34l26,34h24V84l22,-30l22,30v44h24v77Z", c.b),
    range(4).map((at) => rect([50, 50, 120, 120][at], at % 2 ? 160 : 118, 13, 20, at === lit ? c.c : c.a)),
  ];
}

function moonlitEye(c, random) {
  const y = between(random, 88, 108);
  return [
    range(5).map((at) =>
      path(
        `M${-10 - at * 4},${y}Q100,${y - 130 + at * 22} ${210 + at * 4},${y}Q100,${y + 130 - at * 22} ${-10 - at * 4},${y}Z`,
        [c.b, c.a, c.b, c.a, c.c][at],
      ),
    ),
    circle(100, y, 27, c.ground),
    circle(109, y - 9, 7, c.c),
  ];
}

function noir(c, random) {
  const x = between(random, 60, 140);
  return [
    path(`M${x - 6},0h12L${x + 74},180H${x - 74}Z`, c.a, { opacity: 0.92 }),
    path(`M${x - 74},180a74,16 0 1 0 148,0a74,16 0 1 0 -148,0Z`, c.c),
    path(`M${x - 9},184l3,-56q-13,-4 -10,-30q2,-10 16,-11q14,1 16,11q3,26 -10,30l3,56Z`, c.ground),
    path(`M${x - 19},82q19,-6 38,0l-8,-5q-1,-13 -11,-13t-11,13Z`, c.ground),
  ];
}

function blinds(c, random) {
  const lean = between(random, 18, 34);
  return [
    range(8).map((at) =>
      path(`M0,${14 + at * 24}L200,${14 + at * 24 - lean}v10L0,${24 + at * 24}Z`, at % 3 === 1 ? c.c : c.a, {
        opacity: 0.85,
      }),
    ),
    path(
      "M60,205q-4,-46 24,-58q-16,-10 -14,-34q-14,-2 -20,-6q22,-6 24,-34h34q2,28 24,34q-6,4 -20,6q2,24 -14,34q28,12 24,58Z",
      c.ground,
    ),
  ];
}

function horror(c, random) {
  const n = Math.round(between(random, 5, 8));
  const w = 200 / n;
  const teeth = range(n)
    .map((at) => `L${(at + 0.5) * w},${between(random, 76, 104)}L${(at + 1) * w},30`)
    .join("");
  const lower = range(n)
    .map((at) => `L${(at + 0.5) * w},${between(random, 112, 136)}L${(at + 1) * w},186`)
    .join("");
  return [
    rect(0, 0, 200, 210, c.a),
    path(`M0,30${teeth}V0H0Z`, c.ground),
    path(`M0,186${lower}V210H0Z`, c.ground),
    circle(100, 108, 15, c.c),
    circle(100, 108, 6, c.ground),
  ];
}

function mystery(c, random) {
  const x = between(random, 76, 124);
  return [
    circle(x, 98, 86, c.b),
    circle(x, 98, 62, c.a),
    circle(x, 98, 40, c.c),
    circle(x, 84, 17, c.ground),
    path(`M${x - 8},92h16l9,42h-34Z`, c.ground),
  ];
}

function thriller(c, random) {
  const turn = between(random, 0, 6.28);
  return range(8).map((at) => {
    const shift = at * 5.2;
    return circle(
      100 + shift * Math.cos(turn),
      100 + shift * Math.sin(turn),
      94 - at * 11.6,
      at % 2 ? c.ground : at % 4 ? c.c : c.a,
    );
  });
}

function cutBars(c, random) {
  return range(6).map((at) => {
    const x = 8 + at * 32;
    const cut = between(random, 60, 150);
    return [
      path(`M${x},0h22V${cut}l-22,14Z`, at % 3 === 1 ? c.a : c.b),
      path(`M${x},${cut + 40}l22,-14V210h-22Z`, c.c),
    ];
  });
}

function stairs(c, random) {
  const steps = Math.round(between(random, 5, 8));
  const w = 200 / steps;
  return [
    circle(between(random, 38, 78), 56, 30, c.c),
    range(steps).map((at) => rect(at * w, 190 - (at + 1) * (160 / steps), w + 0.5, 200, at % 2 ? c.a : c.b)),
  ];
}

function war(c, random) {
  const x = between(random, 70, 130);
  return [
    ...range(5).map((at) => rect(0, 118 + at * 19, 200, 9.5, at % 2 ? c.a : c.b)),
    star(x, 76, 62, 25, 5, c.a),
    star(x, 76, 30, 12, 5, c.ground),
    path("M0,120Q60,96 110,116T200,108V128H0Z", c.b),
  ];
}

function parachutes(c, random) {
  return range(5).map((at) => {
    const [x, y] = [between(random, 18, 182), 30 + at * 34];
    const r = 12 + at * 3.4;
    return [
      half(x, y, r, at % 2 ? c.a : c.c),
      line(`M${x - r},${y}L${x},${y + r * 1.3}L${x + r},${y}M${x},${y}V${y + r * 1.3}`, c.b, 1.2),
      circle(x, y + r * 1.4, 3, c.b),
    ];
  });
}

export const crimes = [crime, tracks];
export const mysteries = [mystery, mansion];
export const horrors = [horror, moonlitEye, mansion];
export const noirs = [noir, blinds];
export const thrillers = [thriller, cutBars, stairs];
export const wars = [war, parachutes];
