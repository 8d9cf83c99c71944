// Pictures of drawn posters: laughter, love and play. Each is drawn in a box of 200 × 200; `c` holds three colours of
// shapes (a, b, c) and the ground, `random` varies size, number and place.

import { between, oneOf, range } from "./random.js";
import { circle, half, lens, line, path, rect, star } from "./shapes.js";

function animation(c, random) {
  const colours = [c.a, c.b, c.c];
  const tall = between(random, 34, 62);
  return range(5).map((at) => {
    const x = 22 + at * 39;
    const y = 150 - Math.abs(Math.sin(at * 1.15 + tall)) * 100;
    return [
      shadow(x, 178, c.b),
      oneOf(random, [0, 1]) ? circle(x, y, 19, colours[at % 3]) : half(x, y + 10, 20, colours[at % 3], at * 40),
    ];
  });
}

function shadow(x, y, fill) {
  return path(`M${x - 15},${y}a15,4 0 1 0 30,0a15,4 0 1 0 -30,0Z`, fill, { opacity: 0.35 });
}

function blocks(c, random) {
  const colours = [c.a, c.b, c.c];
  return range(9).map((at) => {
    const [x, y] = [16 + (at % 3) * 58, 22 + Math.floor(at / 3) * 58];
    const colour = colours[Math.floor(random() * 3)];
    const kind = Math.floor(random() * 4);
    if (kind === 0) return circle(x + 26, y + 26, 26, colour);
    if (kind === 1) return rect(x, y, 52, 52, colour, { rx: 8 });
    if (kind === 2) return star(x + 26, y + 28, 28, 13, 5, colour);
    return half(x + 26, y + 39, 26, colour, oneOf(random, [0, 90, 180, 270]));
  });
}

function children(c, random) {
  const colours = [c.a, c.c, c.b];
  return range(4).map((at) => {
    const x = 40 + at * 40 + between(random, -8, 8);
    const y = between(random, 40, 105);
    return [
      line(`M${x},${y}Q${x + 12},${y + 60} 100,205`, c.b, 1.5),
      path(`M${x},${y + 30}c-34,-14 -30,-60 0,-60s34,46 0,60Z`, colours[at % 3]),
    ];
  });
}

function comedy(c, random) {
  const tilt = between(random, -14, 14);
  const big = between(random, 62, 78);
  return [
    half(100, 104, big, c.a, 180 + tilt),
    half(100, 104, big * 0.55, c.c, 180 + tilt),
    circle(100 - big * 0.5, 66, 13, c.b),
    random() < 0.5 ? circle(100 + big * 0.5, 66, 13, c.b) : half(100 + big * 0.5, 70, 15, c.b, tilt),
    line("M22,22h156", c.b, 3),
  ];
}

function confetti(c, random) {
  const colours = [c.a, c.b, c.c];
  return range(26).map((at) => {
    const [x, y] = [between(random, 6, 194), between(random, 8, 192)];
    const turn = between(random, 0, 180);
    if (at % 3 === 0) return circle(x, y, between(random, 4, 11), colours[at % 2]);
    return rect(-4, -12, 8, between(random, 14, 26), colours[at % 3], {
      rx: 4,
      transform: `translate(${x} ${y}) rotate(${turn})`,
    });
  });
}

function bowler(c, random) {
  const y = between(random, 96, 112);
  return [
    half(100, y, 52, c.b),
    rect(30, y - 2, 140, 12, c.b, { rx: 6 }),
    rect(48, y - 18, 104, 10, c.a),
    path(`M62,${y + 46}q19,-22 38,-2q19,-20 38,2q-18,20 -38,5q-20,15 -38,-5Z`, c.b),
    circle(168, 34, 12, c.a),
    circle(34, 46, 7, c.c),
  ];
}

function fantasy(c, random) {
  const x = between(random, 70, 130);
  const stars = range(7).map(() => star(between(random, 10, 190), between(random, 8, 110), 6, 1.8, 4, c.c));
  return [
    circle(x, 74, 50, c.c),
    circle(x + 20, 64, 44, c.ground),
    ...stars,
    path("M30,205V150h14v-16l16,-22l16,22v16h18v-36l18,-26l18,26v36h14v-14l14,-20l14,20v69Z", c.b),
    path("M94,205v-26q16,-22 32,0v26Z", c.a),
  ];
}

function portal(c, random) {
  const x = between(random, 84, 116);
  const arch = (r, colour) => path(`M${x - r},205V110a${r},${r} 0 0 1 ${2 * r},0V205Z`, colour);
  return [
    arch(78, c.b),
    arch(58, c.a),
    arch(38, c.c),
    circle(x, 128, 16, c.a),
    range(6).map(() => star(between(random, 6, 194), between(random, 4, 60), 5, 1.6, 4, c.c)),
  ];
}

function musical(c, random) {
  const colours = [c.a, c.c, c.b];
  const x = oneOf(random, [0, 200]);
  return [...range(6).map((at) => circle(x, 200, 190 - at * 29, colours[at % 3])), circle(x, 200, 16, c.ground)];
}

function keys(c, random) {
  const shift = between(random, 0, 20);
  return [
    range(8).map((at) => rect(at * 28 - shift, 40, 26, 128, at % 5 === 2 ? c.a : c.c)),
    range(8).map((at) => (at % 7 === 2 || at % 7 === 6 ? null : rect(at * 28 + 17 - shift, 40, 19, 78, c.b))),
  ];
}

function romance(c, random) {
  const lean = between(random, -12, 12);
  const heart = "M0,62C-78,8 -62,-56 -22,-48Q-4,-44 0,-24Q4,-44 22,-48C62,-56 78,8 0,62Z";
  return [
    path(heart, c.a, { transform: `translate(86 98) rotate(${-10 + lean}) scale(1.16)` }),
    path(heart, c.b, { transform: `translate(126 120) rotate(${14 + lean}) scale(.74)`, opacity: 0.94 }),
    circle(160, 36, 12, c.c),
  ];
}

function twoSuns(c, random) {
  const y = between(random, 92, 108);
  const gap = between(random, 26, 38);
  return [
    circle(100 - gap, y, 60, c.a),
    circle(100 + gap, y, 60, c.b),
    path(lens(100 - gap, y, 60, 100 + gap, y, 60), c.c),
  ];
}

function flower(c, random) {
  const petals = Math.round(between(random, 5, 9));
  return [
    line("M100,96Q108,160 92,210", c.b, 6),
    path("M98,160q34,-30 56,-4q-24,22 -56,4Z", c.b),
    range(petals).map((at) =>
      path("M0,0q-26,-34 0,-66q26,32 0,66Z", at % 2 ? c.a : c.b, {
        transform: `translate(100 88) rotate(${(360 / petals) * at})`,
      }),
    ),
    circle(100, 88, 15, c.c),
  ];
}

export const animations = [animation, blocks];
export const forChildren = [children, blocks];
export const comedies = [comedy, confetti, bowler];
export const fantasies = [fantasy, portal];
export const musicals = [musical, keys];
export const romances = [romance, twoSuns, flower];
