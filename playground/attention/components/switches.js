// @ts-check
// Shows a switch for each head, feed-forward block and layer. `value`: the labels of the parts that are switched off.

import { sentencesOf } from "../../browser/constants.js";
import { button, make } from "../../browser/dom.js";
import { fill } from "../../browser/format.js";
import { rove } from "../../browser/keyboard.js";
import { headLabel, inspection, validHead } from "../inspection_store.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, watch }) {
  const board = element.querySelector(".switches");
  const note = element.querySelector(".grid-note");
  const stop = rove(board, ".row");

  const off = () => new Set(Array.isArray(props.value) ? props.value : []);
  const buttons = () => [...board.querySelectorAll("button")];
  const labels = () => buttons().map((each) => each.dataset.part);

  function part(label, name, description) {
    const made = button(name, "part");
    made.dataset.part = label;
    made.setAttribute("aria-label", description);
    return made;
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
    const known = labels();
    const present = [...off()].filter((label) => known.includes(label));
    if (frame && present.length !== off().size) props.value = present;
    stop();
  }

  function mark() {
    const chosen = off();
    const selectedHead = inspection.state.frame && headLabel(validHead(inspection.state.head));
    for (const each of buttons()) {
      const { part: label } = each.dataset;
      const within = chosen.has(label.split("·")[0]); // a disabled layer disables its parts
      each.setAttribute("aria-pressed", chosen.has(label));
      each.classList.toggle("within", within && !chosen.has(label));
      each.classList.toggle("inspected", label === selectedHead);
    }
  }

  function toggle(label) {
    const next = off();
    if (!next.delete(label)) next.add(label);
    props.value = labels().filter((each) => next.has(each));
    mark();
  }

  board.addEventListener("click", (event) => {
    const clicked = event.target.closest("button");
    if (clicked) toggle(clicked.dataset.part);
  });
  function refresh() {
    build();
    mark();
  }
  watch("value", mark);
  inspection.subscribe(refresh, "frame", "head");
  refresh();
}
