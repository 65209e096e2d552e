// @ts-check
// The characters of the displayed text as spans, one of which is selected with the pointer or the keyboard.

import { make } from "../../browser/dom.js";
import { inspection } from "../inspection_store.js";

const built = new WeakMap(); // text element → its characters

/** Shows the frame's characters as spans. @returns {boolean} whether they replaced other characters */
export function build(text) {
  const characters = inspection.state.frame?.characters ?? [];
  const [before, now] = [built.get(text), characters.join("\u0000")];
  if (now === before) return false;
  built.set(text, now);
  text.replaceChildren();
  for (const [index, character] of characters.entries()) {
    const newline = character === "\n";
    const letter = make("span", newline || character === "\t" ? "sign" : "", newline ? "⏎" : character);
    letter.dataset.index = index;
    text.append(letter);
    if (newline) text.append(make("br"));
  }
  return before !== undefined;
}

/** Marks the selected character and those after it. */
export function mark(text, selected) {
  for (const letter of text.querySelectorAll("span")) {
    const index = Number(letter.dataset.index);
    letter.classList.toggle("inspected", index === selected);
    letter.classList.toggle("ahead", index > selected);
  }
}

/**
 * Calls `select` with the index of the character that the user points at or moves to with the arrow keys.
 * @param {any} text
 * @param {string[]} pointerEvents
 * @param {() => number} selected
 * @param {(index: number) => void} select
 */
export function onSelect(text, pointerEvents, selected, select) {
  const last = () => (inspection.state.frame?.size ?? 0) - 1;
  const KEYS = { ArrowLeft: () => selected() - 1, ArrowRight: () => selected() + 1, Home: () => 0, End: last };
  function choose(index) {
    select(index);
    if (document.activeElement === text) text.querySelector(".inspected")?.scrollIntoView({ block: "nearest" });
  }
  for (const kind of pointerEvents)
    text.addEventListener(kind, ({ target }) => {
      const letter = target.closest("span[data-index]");
      if (letter) choose(Number(letter.dataset.index));
    });
  text.addEventListener("keydown", (event) => {
    const key = KEYS[event.key];
    if (!key || last() < 0) return;
    event.preventDefault();
    choose(Math.min(Math.max(key(), 0), last()));
  });
}
