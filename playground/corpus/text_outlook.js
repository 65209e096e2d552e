// @ts-check
// Shows the expected time and fit per preset for the selected text, and the n-gram baselines as bars.
// `value`: {sizes: [{preset, outlook}, …], baselines: [{name, loss, perplexity}, …], entropy, perplexity} or null.
// `baselines` is empty while they are being computed.

import { sentencesOf } from "../browser/constants.js";
import { make } from "../browser/dom.js";
import { fill } from "../browser/format.js";

const SENTENCES = sentencesOf("corpus");

export function mount({ element, props, watch }) {
  const find = (selector) => element.querySelector(selector);

  function bar({ name, loss, perplexity }, most) {
    const filled = make("i");
    filled.style.width = `${(100 * loss) / most}%`;
    const track = make("span", "track");
    track.append(filled);
    const cell = make("dd");
    cell.append(
      track,
      make("span", "count", loss.toFixed(2)),
      make("span", "quiet", fill(SENTENCES.PERPLEXITY, { perplexity })),
    );
    return [make("dt", "", name), cell];
  }

  function draw() {
    const value = props.value;
    for (const fold of element.querySelectorAll(".fold")) fold.hidden = !value;
    if (!value) return;
    find(".sizes dl").replaceChildren(
      ...value.sizes.flatMap(({ preset, outlook }) => [make("dt", "", preset), make("dd", "", outlook)]),
    );
    find(".ladder dl").replaceChildren(...value.baselines.flatMap((row) => bar(row, value.baselines[0].loss)));
    find(".ladder .lead").textContent = value.baselines.length ? SENTENCES.BASELINES_EXPLAINED : SENTENCES.COUNTING;
    const { entropy, perplexity } = value;
    find(".ladder .entropy").textContent = fill(SENTENCES.ENTROPY, { entropy, perplexity });
  }

  watch("value", draw);
  draw();
}
