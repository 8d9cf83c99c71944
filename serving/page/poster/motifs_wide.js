// Pictures of drawn posters: drama, journeys and other worlds. Each is drawn in a box of 200 × 200; `c` holds three colours of
// shapes (a, b, c) and the ground, `random` varies size, number and place.

import { svg } from "../dom.js";
import { between, oneOf, range } from "./random.js";
import { circle, half, lens, line, path, rect, star } from "./shapes.js";

function action(c, random) {
  const x = between(random, 70, 130);
  const y = between(random, 80, 120);
  const rays = Math.round(between(random, 9, 14));
  return [
    star(x, y, 175, 60, rays, c.b, random()),
    star(x, y, 92, 46, rays, c.a, random()),
    circle(x, y, 24, c.c),
    path("M0,168L200,120V146L0,194Z", c.ground),
  ];
}

function speed(c, random) {
  const y = between(random, 70, 120);
  return [
    range(9).map((at) =>
      path(
        `M0,${y - 64 + at * 17}L${between(random, 90, 205)},${y - 62 + at * 17}L0,${y - 56 + at * 17}Z`,
        at % 3 ? c.b : c.c,
      ),
    ),
    path(`M70,${y - 26}L206,${y}L70,${y + 26}L92,${y}Z`, c.a),
  ];
}

function adventure(c, random) {
  const sun = between(random, 50, 150);
  const peak = between(random, 60, 140);
  return [
    circle(sun, 66, between(random, 26, 40), c.a),
    path(`M-20,200L${peak - 55},78L${peak + 12},140L${peak + 60},92L220,200Z`, c.b),
    path(`M${peak - 55},78L${peak - 76},106L${peak - 58},100L${peak - 48},112L${peak - 28},103Z`, c.c),
    path("M0,200V172Q50,148 108,170T200,160V200Z", c.a, { opacity: 0.9 }),
  ];
}

function voyage(c, random) {
  const x = between(random, 80, 120);
  return [
    circle(between(random, 40, 160), 58, 26, c.c),
    path(`M${x},34V138H${x - 52}Q${x - 10},90 ${x},34Z`, c.a),
    path(`M${x + 6},50V138H${x + 44}Q${x + 40},84 ${x + 6},50Z`, c.c),
    path(`M${x - 66},146H${x + 62}q-10,28 -34,28h-62q-26,0 -32,-28Z`, c.b),
    path("M-6,172q26,-16 52,0t52,0t52,0t56,0V210H-6Z", c.a),
  ];
}

function documentary(c, random) {
  const lit = Math.floor(between(random, 0, 12));
  return range(12).map((at) => {
    const x = 18 + (at % 4) * 42;
    const y = 30 + Math.floor(at / 4) * 48;
    const colour = at === lit ? c.a : at % 3 === 1 ? c.b : c.c;
    return [rect(x, y, 36, 40, colour), at === lit ? circle(x + 18, y + 20, 11, c.ground) : null];
  });
}

function lensRings(c, random) {
  const x = between(random, 84, 116);
  return [
    circle(x, 100, 82, c.b),
    circle(x, 100, 66, c.c),
    circle(x, 100, 50, c.b),
    circle(x, 100, 34, c.a),
    circle(x + 12, 88, 9, c.c),
  ];
}

function suns(c, random) {
  const y = between(random, 84, 112);
  return [
    circle(76, y, 58, c.a),
    circle(128, y + 10, 58, c.b, { opacity: 0.9 }),
    path(lens(76, y, 58, 128, y + 10, 58), c.c),
  ];
}

function horizon(c, random) {
  const y = between(random, 104, 132);
  return [
    rect(0, y, 200, 200, c.b),
    half(between(random, 60, 140), y, between(random, 46, 66), c.a),
    line(`M0,${y + 24}H200M0,${y + 42}H200M0,${y + 64}H200`, c.c, 2, { opacity: 0.55 }),
  ];
}

function door(c, random) {
  const x = between(random, 66, 110);
  return [
    rect(x - 40, 18, 96, 190, c.b),
    path(`M${x - 40},18L${x + 18},44V208H${x - 40}Z`, c.a),
    path(`M${x - 40},208L${x + 56},208L${x + 110},230H${x - 90}Z`, c.c),
    circle(x + 8, 122, 4, c.c),
  ];
}

function lonelyTree(c, random) {
  const x = between(random, 66, 134);
  return [
    circle(x, 78, between(random, 44, 58), c.a),
    circle(x + 26, 62, 30, c.c, { opacity: 0.9 }),
    rect(x - 4, 96, 8, 80, c.b),
    line(`M${x},128l24,-26M${x},142l-22,-24`, c.b, 5),
    path("M-4,172Q60,152 110,170T206,166V212H-4Z", c.b),
  ];
}

function windows(c, random) {
  const lit = Math.floor(between(random, 0, 15));
  return [
    rect(28, 10, 144, 200, c.b),
    range(15).map((at) =>
      rect(
        42 + (at % 3) * 42,
        24 + Math.floor(at / 3) * 36,
        30,
        24,
        at === lit ? c.a : random() < 0.25 ? c.c : c.ground,
      ),
    ),
  ];
}

function sciFi(c, random) {
  const x = between(random, 80, 120);
  const tilt = between(random, -28, -8);
  const dust = range(16).map(() =>
    circle(between(random, 4, 196), between(random, 2, 198), between(random, 0.7, 1.9), c.a),
  );
  return [
    ...dust,
    circle(x, 104, 54, c.b),
    half(x, 104, 54, c.c, tilt),
    path("M-92,0a92,22 0 1 0 184,0a92,22 0 1 0 -184,0ZM-72,0a72,13 0 1 1 144,0a72,13 0 1 1 -144,0Z", c.a, {
      transform: `translate(${x} 104) rotate(${tilt})`,
      "fill-rule": "evenodd",
    }),
    path("M-54,0A54,54 0 0 1 54,0L50,-1Q0,12 -50,-1Z", c.c, { transform: `translate(${x} 104) rotate(${tilt})` }),
  ];
}

function gridSun(c, random) {
  const y = between(random, 106, 122);
  return [
    half(100, y, 66, c.c),
    range(4).map((at) => rect(30, y - 14 - at * 13, 140, 4 - at * 0.7, c.ground)),
    rect(0, y, 200, 100, c.b),
    range(9).map((at) => line(`M${100 + (at - 4) * 16},${y}L${100 + (at - 4) * 74},210`, c.a, 1.4)),
    range(5).map((at) => line(`M0,${y + 5 + at * at * 5.6}H200`, c.a, 1.4)),
  ];
}

function orbits(c, random) {
  const turn = between(random, 0, 6.28);
  return [
    range(4).map((at) => {
      const r = 30 + at * 20;
      const angle = turn + at * 1.9;
      return [
        svg("circle", { cx: 100, cy: 100, r, fill: "none", stroke: c.b, "stroke-width": 1.6 }),
        circle(100 + r * Math.cos(angle), 100 + r * Math.sin(angle), 5 + at * 2, at % 2 ? c.a : c.c),
      ];
    }),
    circle(100, 100, 18, c.c),
  ];
}

function rocket(c, random) {
  const tilt = between(random, 16, 40);
  return [
    range(14).map(() => circle(between(random, 2, 198), between(random, 2, 198), between(random, 0.8, 2), c.c)),
    circle(34, 180, 62, c.b),
    svg(
      "g",
      { transform: `translate(112 92) rotate(${tilt})` },
      path("M0,-66q30,30 22,86h-44q-8,-56 22,-86Z", c.a),
      path("M-22,2l-18,34l18,-8ZM22,2l18,34l-18,-8Z", c.c),
      circle(0, -14, 9, c.ground),
      path("M-12,24h24l-12,38Z", c.c),
    ),
  ];
}

function western(c, random) {
  const x = between(random, 60, 140);
  return [
    circle(x, 108, between(random, 54, 68), c.a),
    path("M-5,205V124h26v-16h44v20h18v42h50V136h18v-22h36v18h22v73Z", c.b),
    rect(0, 176, 200, 40, c.c),
    path(`M${x - 4},176v-40q-18,0 -18,-22h8q0,12 10,12v-28h9v40q10,0 10,-12h8q0,22 -18,22v28Z`, c.ground),
  ];
}

function mesas(c, random) {
  const x = between(random, 40, 160);
  return [
    circle(x, 62, 30, c.c),
    path("M0,120h40l8,22h30l6,-44h46l8,50h26l10,-20h40V210H0Z", c.a),
    path("M0,164q50,-14 100,0t104,-4V210H0Z", c.b),
  ];
}

function others(c, random) {
  const colours = [c.a, c.b, c.c];
  return range(16).map((at) => {
    const x = 10 + (at % 4) * 45 + 22.5;
    const y = 10 + Math.floor(at / 4) * 45 + 22.5;
    const colour = oneOf(random, colours);
    return random() < 0.35 ? circle(x, y, 20, colour) : half(x, y + 10, 21, colour, 90 * Math.floor(random() * 4));
  });
}

export const actions = [action, speed];
export const adventures = [adventure, voyage];
export const documentaries = [documentary, lensRings];
export const dramas = [suns, horizon, door, lonelyTree, windows];
export const futures = [sciFi, gridSun, orbits, rocket];
export const westerns = [western, mesas];
export const unknown = [others];
