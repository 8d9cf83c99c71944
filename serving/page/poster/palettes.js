// Colours of drawn posters: [ground, type, and three colours of shapes]. Each genre has a few.

const PALETTES = {
  noir: ["#15171c", "#f2efe6", "#dcd6c6", "#5b616e", "#e3b23c"],
  night: ["#10204a", "#f5efe0", "#e8b04a", "#2c4796", "#cf5a3f"],
  blood: ["#1b0e11", "#f4e4d7", "#bb2430", "#5e1019", "#e9d8a6"],
  sand: ["#ebcb96", "#2c1a12", "#c4572e", "#8c3b1f", "#f7ead0"],
  cream: ["#f2e9d8", "#1f1c19", "#d1452b", "#1f4e5f", "#e9b44c"],
  sky: ["#c2e1e3", "#12343b", "#e1654a", "#2d6a75", "#f7f3e3"],
  rose: ["#f3d3cc", "#4a1320", "#c8374f", "#8a1c3c", "#fbeee6"],
  teal: ["#0d4a4c", "#f3ead7", "#e98a4b", "#147a7b", "#f2cc8f"],
  mustard: ["#e9b63f", "#1d1a16", "#c3372c", "#1e3a5f", "#f8ecd0"],
  violet: ["#2a1a4a", "#f3e9ff", "#e2557b", "#5e3a9b", "#f6c667"],
  mint: ["#cfe8d5", "#173a2b", "#e4572e", "#2f7d5b", "#fdf6e3"],
  olive: ["#4a4f2c", "#f2ecd4", "#c9a24b", "#2d311b", "#b5482f"],
  ash: ["#dbd8d1", "#22252a", "#a8322d", "#59606b", "#f5f3ee"],
  space: ["#0a1228", "#e8f0ff", "#56c2d6", "#22357a", "#f28f5c"],
  plum: ["#5a1e3c", "#fbe9d9", "#ef8354", "#3a0f26", "#f2c57c"],
  brick: ["#b5402b", "#fdf0dd", "#f2c14e", "#7a2317", "#1d2f3f"],
  slate: ["#2f3b47", "#f0ece2", "#d9a441", "#1d252d", "#7fa3a8"],
  lilac: ["#dcd3ec", "#2c1f4a", "#7b4fb5", "#e0656f", "#fbf7ee"],
};

const BY_GENRE = {
  Action: ["brick", "mustard", "night"],
  Adventure: ["sky", "teal", "sand"],
  Animation: ["mint", "sky", "mustard"],
  "Children's": ["mint", "sky", "rose"],
  Children: ["mint", "sky", "rose"],
  Comedy: ["mustard", "cream", "rose", "mint"],
  Crime: ["slate", "noir", "brick"],
  Documentary: ["ash", "cream", "slate"],
  Drama: ["cream", "ash", "teal", "plum", "slate", "lilac"],
  Fantasy: ["violet", "lilac", "teal"],
  "Film-Noir": ["noir", "noir", "slate"],
  Horror: ["blood", "blood", "noir"],
  IMAX: ["space", "night"],
  Musical: ["violet", "plum", "mustard"],
  Mystery: ["night", "plum", "slate"],
  Romance: ["rose", "plum", "lilac"],
  "Sci-Fi": ["space", "space", "night"],
  Thriller: ["brick", "slate", "noir", "teal"],
  War: ["olive", "ash", "slate"],
  Western: ["sand", "brick", "mustard"],
};
const OTHERS = ["cream", "teal", "mustard", "night", "ash", "lilac"];

/** {ground, type, shapes: [3 colours]} of a film. */
export function paletteOf(genre, random) {
  const names = BY_GENRE[genre] ?? OTHERS;
  const [ground, type, ...shapes] = PALETTES[names[Math.floor(random() * names.length)]];
  return { ground, type, shapes };
}
