// @ts-check
// value: {sizes: [[preset, words], …], ways: [[way, nats, choices], …] (empty while it counts), entropy, choices} or null.

import { sentencesOf } from "../services/constants.js";
import { make } from "../services/dom.js";
import { fill } from "../services/format.js";

const SENTENCES = sentencesOf("corpus");

export function mount({ element, props, watch }) {
  const find = (selector) => element.querySelector(selector);

  function bar([way, nats, choices], most) {
    const ink = make("i");
    ink.style.width = `${(100 * nats) / most}%`;
    const track = make("span", "track");
    track.append(ink);
    const cell = make("dd");
    cell.append(
      track,
      make("span", "count", nats.toFixed(2)),
      make("span", "quiet", fill(SENTENCES.PERPLEXITY, { perplexity: choices })),
    );
    return [make("dt", "", way), cell];
  }

  function draw() {
    const value = props.value;
    for (const fold of element.querySelectorAll(".fold")) fold.hidden = !value;
    if (!value) return;
    find(".sizes dl").replaceChildren(
      ...value.sizes.flatMap(([size, words]) => [make("dt", "", size), make("dd", "", words)]),
    );
    find(".ladder dl").replaceChildren(...value.ways.flatMap((way) => bar(way, value.ways[0][1])));
    find(".ladder .lead").textContent = value.ways.length ? SENTENCES.BASELINES_EXPLAINED : SENTENCES.COUNTING;
    const { entropy, choices: perplexity } = value;
    find(".ladder .entropy").textContent = fill(SENTENCES.ENTROPY, { entropy, perplexity });
  }

  watch("value", draw);
  draw();
}
