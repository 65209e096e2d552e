// @ts-check
// Shows the text and lets the user select one position in it.
// `value`: the index of the position, counted from 0; null selects the last position.

import { sentencesOf } from "../../browser/constants.js";
import { fill, glyph } from "../../browser/format.js";
import { inspection } from "../inspection_store.js";
import * as letters from "./letters.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, watch }) {
  const text = element.querySelector(".text-view");
  const size = () => inspection.state.frame?.size ?? 0;
  const position = () => Math.min(Number.isInteger(props.value) ? props.value : size() - 1, size() - 1);

  function mark() {
    letters.mark(text, position());
    text.setAttribute("aria-valuenow", position());
    const character = glyph(inspection.state.frame?.characters[position()] ?? "");
    text.setAttribute("aria-valuetext", fill(SENTENCES.POSITION, { character }));
  }

  function choose(index) {
    if (index === position()) return;
    props.value = index;
    mark();
  }

  function refresh() {
    text.hidden = !size();
    if (letters.build(text) && props.value !== null) props.value = null; // select the last position of the new text
    mark();
  }

  letters.onSelect(text, ["click"], position, choose);
  watch("value", mark);
  inspection.subscribe(refresh, "frame");
  refresh();
}
