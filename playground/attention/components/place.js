// @ts-check
// The text, one of whose characters is chosen: `value` is its place, counted from 0; null: the last.

import { make } from "../../services/dom.js";
import { glyph } from "../../services/format.js";
import { inspection } from "../inspection_store.js";

export function mount({ element, props, watch }) {
  const text = element.querySelector(".text-view");
  const BREAK = "\n";
  let built = null;

  const size = () => inspection.state.frame?.size ?? 0;
  const place = () => Math.min(Number.isInteger(props.value) ? props.value : size() - 1, size() - 1);

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
    if (!first && props.value !== null) props.value = null; // another text: its end is what comes next
  }

  function mark() {
    for (const letter of text.querySelectorAll("span")) {
      const index = Number(letter.dataset.index);
      letter.classList.toggle("looking", index === place());
      letter.classList.toggle("ahead", index > place());
    }
    text.setAttribute("aria-valuenow", place());
    text.setAttribute("aria-valuetext", `after ${glyph(inspection.state.frame?.characters[place()] ?? "")}`);
  }

  function choose(index) {
    if (!size() || index === place()) return;
    props.value = Math.min(Math.max(index, 0), size() - 1);
    mark();
    if (document.activeElement === text) text.querySelector(".looking").scrollIntoView({ block: "nearest" });
  }

  const KEYS = { ArrowLeft: () => place() - 1, ArrowRight: () => place() + 1, Home: () => 0, End: () => size() - 1 };
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
