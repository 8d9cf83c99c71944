// Posters: the film's picture where the service has one, otherwise one drawn from its title, year and genres.

import { freshId, h, svg } from "./dom.js";
import { block, fit, heightOf } from "./poster/lettering.js";
import { motif, tellingGenre } from "./poster/motifs.js";
import { paletteOf } from "./poster/palettes.js";
import { randomOf } from "./poster/random.js";
import { rect } from "./poster/shapes.js";

const WIDTH = 200;
const HEIGHT = 300;
const MARGIN = 16;
const PICTURE = 212; // height of the picture; the rest is for type
const TITLE = 56;
const YEAR = 13; // the year stands above the title
const SERIF = new Set(["Drama", "Romance", "Mystery", "Film-Noir", "Fantasy", "Western", "Horror", null]);

/** A poster; decorative, since the title stands beside it as text. */
export function poster(film) {
  if (!film.poster) return drawn(film);
  const image = h("img", { class: "poster", src: film.poster, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(drawn(film)), { once: true });
  return image;
}

/** The same film gives the same poster, everywhere. */
export function drawn(film) {
  const random = randomOf(`${film.title}|${film.year ?? ""}|${film.genres.join()}`);
  const genre = tellingGenre(film.genres, random);
  const palette = paletteOf(genre, random);
  const below = random() < 0.5;
  const face = SERIF.has(genre) === random() < 0.85 ? "serif" : "sans";
  const capitals = face === "sans" && film.title.length < 18;
  const title = capitals ? film.title.toUpperCase() : film.title;
  const clip = freshId("poster");
  const lettering = fit(title, face, WIDTH - 2 * MARGIN, TITLE);
  const tall = heightOf(lettering);
  const y = below ? HEIGHT - MARGIN - tall : MARGIN + YEAR;
  const picture = below ? { y: 0, shift: 14 } : { y: HEIGHT - PICTURE, shift: HEIGHT - PICTURE + 4 };
  const style = { x: MARGIN, colour: palette.type };
  return svg(
    "svg",
    { class: "poster", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", focusable: "false" },
    svg("clipPath", { id: clip }, rect(0, picture.y, WIDTH, PICTURE, "#000")),
    rect(0, 0, WIDTH, HEIGHT, palette.ground),
    svg(
      "g",
      { "clip-path": `url(#${clip})` },
      svg("g", { transform: `translate(0 ${picture.shift})` }, motif(genre, palette, random)),
    ),
    film.year ? block({ lines: [String(film.year)], size: 9 }, { ...style, face: "sans", y: y - YEAR }) : null,
    block(lettering, { ...style, face, y }),
  );
}
