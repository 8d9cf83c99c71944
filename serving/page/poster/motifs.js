// Which picture a film gets.

import * as dark from "./motifs_dark.js";
import * as light from "./motifs_light.js";
import * as wide from "./motifs_wide.js";
import { oneOf } from "./random.js";

// The more a genre says about a film, the earlier it stands: most films are also dramas or comedies.
const MOTIFS = new Map([
  ["Film-Noir", dark.noirs],
  ["Western", wide.westerns],
  ["Documentary", wide.documentaries],
  ["Musical", light.musicals],
  ["Animation", light.animations],
  ["Horror", dark.horrors],
  ["Sci-Fi", wide.futures],
  ["War", dark.wars],
  ["Fantasy", light.fantasies],
  ["Mystery", dark.mysteries],
  ["Children's", light.forChildren],
  ["Children", light.forChildren],
  ["Romance", light.romances],
  ["Crime", dark.crimes],
  ["Adventure", wide.adventures],
  ["Thriller", dark.thrillers],
  ["Action", wide.actions],
  ["Comedy", light.comedies],
  ["Drama", wide.dramas],
]);

/** The genre that a film's poster is drawn for, mostly its most telling one; null for films without a known one. */
export function tellingGenre(genres, random) {
  const known = [...MOTIFS.keys()].filter((name) => genres.includes(name));
  return known[random() < 0.68 || known.length < 2 ? 0 : 1] ?? null;
}

/** Shapes for a genre. */
export function motif(genre, palette, random) {
  const [a, b, c] = palette.shapes;
  const draw = oneOf(random, MOTIFS.get(genre) ?? wide.unknown);
  return draw({ a, b, c, ground: palette.ground }, random).flat(3);
}
