// @ts-check
// Shows the text, shaded by the attention that one of its characters pays to the others.
// The grid determines the head; the pointer, the keyboard or a tap selects the character. `value`: a frame, or a note
// that explains why there is none. The other views read the frame from the inspection store.

import { sentencesOf } from "../../browser/constants.js";
import { fill, glyph, percent } from "../../browser/format.js";
import { headLabel, inspection, rowWeights, showFrame, shownHead } from "../inspection_store.js";
import { followSelection } from "./attention_frames.js";
import * as letters from "./letters.js";

const SENTENCES = sentencesOf("attention");
const EVEN = 0.25; // minimum weight for the strongest color, so that evenly spread rows stay pale
const LIGHT_ON_DARK = 0.6; // share of the strongest color above which the letters use the light color
const frame = () => inspection.state.frame;

export function mount({ element, props, trigger, watch, server }) {
  const text = element.querySelector(".text-view");
  const caption = element.querySelector(".text-caption");
  let selectedIndex = null; // index of the character whose attention is shown; null: the last one

  const row = () => Math.min(selectedIndex ?? frame().size - 1, frame().size - 1);

  function tint(letter, share) {
    const mixed = `color-mix(in srgb, var(--attention-to) ${(100 * share).toFixed(1)}%, var(--attention-from))`;
    letter.style.background = share > 0.02 ? mixed : "";
    letter.style.color = share > LIGHT_ON_DARK ? "var(--attention-from)" : "";
  }

  function summary(weights) {
    const found = weights.map((weight, index) => [weight, index]).sort((a, b) => b[0] - a[0]);
    const top = found.slice(0, 3).filter(([weight]) => weight >= 0.005);
    const places = top.map(([weight, index]) => `${glyph(frame().characters[index])} ${percent(weight)}`);
    const character = glyph(frame().characters[row()]);
    return fill(SENTENCES.ATTENDS_TO, { head: headLabel(shownHead()), character, places: places.join(" · ") });
  }

  function shade() {
    caption.hidden = text.hidden = !frame();
    if (!frame()) return;
    const weights = rowWeights(shownHead(), row());
    const strongest = Math.max(...weights, EVEN);
    for (const [index, letter] of text.querySelectorAll("span").entries())
      tint(letter, index <= row() ? Math.sqrt(weights[index] / strongest) : 0);
    letters.mark(text, row());
    caption.textContent = summary(weights);
  }

  function select(index) {
    if (!frame() || index === row()) return;
    selectedIndex = index;
    shade();
  }

  function receive() {
    inspection.set({ note: props.value?.note ?? "" });
    if (!props.value?.weights) showFrame(null);
    else if (followed.receive(props.value)) showFrame(props.value);
  }

  letters.onSelect(text, ["pointerover", "pointerdown"], row, select);
  const followed = followSelection({ trigger, server });
  inspection.subscribe(() => {
    if (frame() && letters.build(text)) selectedIndex = null;
  }, "frame");
  inspection.subscribe(shade, "frame", "head", "pointed");
  watch("value", receive);
  receive();
  followed.move();
}
