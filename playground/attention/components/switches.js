// @ts-check
// Shows a switch for each head, feed-forward block and layer. `value`: the labels of the parts that are switched off.

import { sentencesOf } from "../../services/constants.js";
import { make } from "../../services/dom.js";
import { fill } from "../../services/format.js";
import { rove } from "../../shell/keyboard.js";
import { headLabel, inspection, validHead } from "../inspection_store.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, watch }) {
  const board = element.querySelector(".switches");
  const note = element.querySelector(".grid-note");
  const stop = rove(board, ".row");

  const off = () => new Set(Array.isArray(props.value) ? props.value : []);
  const buttons = () => [...board.querySelectorAll("button")];

  function part(label, name, description) {
    const button = make("button", "part", name);
    button.type = "button";
    button.dataset.part = label;
    button.setAttribute("aria-label", description);
    return button;
  }

  function build() {
    const { frame } = inspection.state;
    note.hidden = Boolean(frame);
    const shape = frame ? `${frame.layers} × ${frame.heads}` : "";
    if (board.dataset.shape === shape) return;
    board.dataset.shape = shape;
    board.replaceChildren();
    for (let layer = 1; layer <= (frame?.layers ?? 0); layer++) {
      const row = make("div", "row");
      row.append(part(`L${layer}`, `L${layer}`, fill(SENTENCES.SWITCH_OFF_LAYER, { layer })));
      row.firstChild.classList.add("whole");
      for (let head = 1; head <= frame.heads; head++) {
        const description = fill(SENTENCES.SWITCH_OFF_HEAD, { head, layer });
        row.append(part(headLabel({ layer, head }), `H${head}`, description));
      }
      row.append(part(`L${layer}·FF`, "FF", fill(SENTENCES.SWITCH_OFF_FEED_FORWARD, { layer })));
      board.append(row);
    }
    const known = new Set(buttons().map((button) => button.dataset.part));
    const kept = [...off()].filter((label) => known.has(label));
    if (frame && kept.length !== off().size) props.value = kept;
    stop();
  }

  function mark() {
    const chosen = off();
    const selectedHead = inspection.state.frame && headLabel(validHead(inspection.state.head));
    for (const button of buttons()) {
      const { part: label } = button.dataset;
      const within = chosen.has(label.split("·")[0]); // a disabled layer disables its parts
      button.setAttribute("aria-pressed", chosen.has(label));
      button.classList.toggle("within", within && !chosen.has(label));
      button.classList.toggle("inspected", label === selectedHead);
    }
  }

  function toggle(label) {
    const next = off();
    if (!next.delete(label)) next.add(label);
    props.value = buttons()
      .map((button) => button.dataset.part)
      .filter((each) => next.has(each));
    mark();
  }

  board.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) toggle(button.dataset.part);
  });
  function refresh() {
    build();
    mark();
  }
  watch("value", mark);
  inspection.subscribe(refresh, "frame", "head");
  refresh();
}
