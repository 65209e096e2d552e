// @ts-check
// Shows the text, shaded by the attention that one of its characters pays to the others.
// The grid determines the head; the pointer, the keyboard or a tap selects the character. `value`: a frame, or a note
// that explains why there is none. The other views read the frame from the inspection store.

import { sentencesOf } from "../../services/constants.js";
import { fill, glyph, percent } from "../../services/format.js";
import { headLabel, inspection, rowWeights, showFrame, shownHead } from "../inspection_store.js";
import { followSelection } from "./attention_frames.js";

const SENTENCES = sentencesOf("attention");
const frame = () => inspection.state.frame;

export function mount({ element, props, trigger, watch, server }) {
  const text = element.querySelector(".text-view");
  const caption = element.querySelector(".text-caption");
  const EVEN = 0.25; // minimum weight for the strongest color, so that evenly spread rows stay pale
  const LIGHT_ON_DARK = 0.6; // share of the strongest color above which the letters use the light color

  let built = null; // the displayed characters
  let selectedIndex = null; // index of the character whose attention is shown; null: the last one

  const row = () => Math.min(selectedIndex ?? frame().size - 1, frame().size - 1);

  function build() {
    const written = frame().characters.join("\u0000");
    if (written === built) return;
    built = written;
    selectedIndex = null;
    text.replaceChildren();
    for (const [index, character] of frame().characters.entries()) {
      const letter = document.createElement("span");
      letter.textContent = character === "\n" ? "⏎" : character;
      letter.dataset.index = index;
      if (character === "\n" || character === "\t") letter.className = "sign";
      text.append(letter);
      if (character === "\n") text.append(document.createElement("br"));
    }
  }

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
    for (const letter of text.querySelectorAll("span")) {
      const index = Number(letter.dataset.index);
      tint(letter, index <= row() ? Math.sqrt(weights[index] / strongest) : 0);
      letter.classList.toggle("inspected", index === row());
      letter.classList.toggle("ahead", index > row());
    }
    caption.textContent = summary(weights);
  }

  function look(index) {
    if (!frame() || index === row()) return;
    selectedIndex = index;
    shade();
    const letter = text.querySelector(".inspected");
    if (document.activeElement === text) letter.scrollIntoView({ block: "nearest" });
  }

  function receive() {
    inspection.set({ note: props.value?.note ?? "" });
    if (!props.value?.weights) showFrame(null);
    else if (followed.receive(props.value)) showFrame(props.value);
  }

  const indexAt = (event) => {
    const letter = event.target.closest("span[data-index]");
    return letter && Number(letter.dataset.index);
  };
  const KEYS = { ArrowLeft: () => row() - 1, ArrowRight: () => row() + 1, Home: () => 0, End: () => frame().size - 1 };
  for (const kind of ["pointerover", "pointerdown"]) {
    text.addEventListener(kind, (event) => indexAt(event) !== null && look(indexAt(event)));
  }
  text.addEventListener("keydown", (event) => {
    const key = KEYS[event.key];
    if (!key || !frame()) return;
    event.preventDefault();
    look(Math.min(Math.max(key(), 0), frame().size - 1));
  });

  const followed = followSelection({ trigger, server });
  inspection.subscribe(() => frame() && build(), "frame");
  inspection.subscribe(shade, "frame", "head", "pointed");
  watch("value", receive);
  receive();
  followed.move();
}
