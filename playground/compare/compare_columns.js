// @ts-check
// Adds and removes columns in Compare. `value`: the number of visible columns.
// All four columns are in the DOM; the style sheet hides the others.

import { onRuns, runs } from "../services/runs.js";
import { setTrigger } from "./comparison.js";
import { lineup } from "./lineup.js";

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  const [FEWEST, DEFAULT, MOST] = [2, 3, 4];

  const within = (count, most = MOST) => Math.min(Math.max(count, FEWEST), most);

  function draw() {
    const some = lineup(runs()).length;
    if (!props.value && some) props.value = within(some, DEFAULT);
    document.body.dataset.columns = props.value || FEWEST;
    find(".second").hidden = some !== 1;
    find(".share").hidden = some < 2;
    find(".add").hidden = props.value >= MOST;
    find(".remove").hidden = !(props.value > FEWEST);
  }

  // Gradio does not call `watch` for values set here, so redraw explicitly.
  function set(count) {
    props.value = within(count);
    draw();
  }

  find(".add").addEventListener("click", () => set(props.value + 1));
  find(".remove").addEventListener("click", () => set(props.value - 1));
  setTrigger(trigger);
  watch("value", draw);
  onRuns(draw);
  draw();
}
