// @ts-check
// Shows the text and lets the user select one position in it.
// `value`: the index of the position, counted from 0; null selects the last position.

import { sentencesOf } from "../../services/constants.js";
import { make } from "../../services/dom.js";
import { fill, glyph } from "../../services/format.js";
import { inspection } from "../inspection_store.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, watch }) {
  const text = element.querySelector(".text-view");
  const BREAK = "\n";
  let built = null;

  const size = () => inspection.state.frame?.size ?? 0;
  const position = () => Math.min(Number.isInteger(props.value) ? props.value : size() - 1, size() - 1);

  function build() {
    text.hidden = !size();
    const written = inspection.state.frame?.characters.join("\u0000") ?? "";
    if (written === built) return;
    const first = built === null;
    built = written;
    text.replaceChildren();
    for (const [index, character] of (inspection.state.frame?.characters ?? []).entries()) {
      const letter = make(
        "span",
        character === BREAK || character === "\t" ? "sign" : "",
        character === BREAK ? "⏎" : character,
      );
      letter.dataset.index = index;
      text.append(letter);
      if (character === BREAK) text.append(document.createElement("br"));
    }
    if (!first && props.value !== null) props.value = null; // select the last position of the new text
  }

  function mark() {
    for (const letter of text.querySelectorAll("span")) {
      const index = Number(letter.dataset.index);
      letter.classList.toggle("inspected", index === position());
      letter.classList.toggle("ahead", index > position());
    }
    text.setAttribute("aria-valuenow", position());
    const character = glyph(inspection.state.frame?.characters[position()] ?? "");
    text.setAttribute("aria-valuetext", fill(SENTENCES.POSITION, { character }));
  }

  function choose(index) {
    if (!size() || index === position()) return;
    props.value = Math.min(Math.max(index, 0), size() - 1);
    mark();
    if (document.activeElement === text) text.querySelector(".inspected").scrollIntoView({ block: "nearest" });
  }

  const KEYS = {
    ArrowLeft: () => position() - 1,
    ArrowRight: () => position() + 1,
    Home: () => 0,
    End: () => size() - 1,
  };
  text.addEventListener("click", (event) => {
    const letter = event.target.closest("span[data-index]");
    if (letter) choose(Number(letter.dataset.index));
  });
  text.addEventListener("keydown", (event) => {
    const key = KEYS[event.key];
    if (!key) return;
    event.preventDefault();
    choose(key());
  });

  function refresh() {
    build();
    mark();
  }
  watch("value", mark);
  inspection.subscribe(refresh, "frame");
  refresh();
}
