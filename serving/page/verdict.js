// The sentences of an explanation. The service writes English; other languages build them from the same figures.

import { currentLanguage } from "./i18n.js";
import * as zh from "./i18n/verdict_zh.js";

const WRITERS = { zh };

/** {why, helps} of an explanation in the chosen language. */
export function sentences(explanation) {
  const writer = WRITERS[currentLanguage()];
  if (writer === undefined) return { why: explanation.why, helps: explanation.would_help };
  const stages = Object.fromEntries(explanation.stages.map((stage) => [stage.stage, stage]));
  return { why: writer.why(explanation, stages), helps: writer.helps(explanation, stages) };
}
