// @ts-check
// Adds and removes Compare's columns, and decides when their texts must be generated again.
// All four columns are in the DOM; the style sheet hides the others. One move of the time bar changes several columns in
// sequence; the changes are combined into a single request.

import { lineup, onRuns, runs } from "../browser/runs.js";

const [FEWEST, DEFAULT, MOST] = [2, 3, 4];
const REST_MS = 80;

/** @typedef {{ run: string | null, step: number | null }} Model */

/**
 * The columns' models and settings, passed by the event listeners in playground/compare/texts.py.
 * @typedef {{ count: number, prompt: string, temperature: number, top_k: number, max_length: number, seed: number,
 *   models: Model[] }} Form
 */

/** Triggers an event of the mounted component. */
let trigger = (_event, _request) => {};

// `value`: the number of visible columns.
export function mount({ element, props, trigger: triggerEvent, watch }) {
  const find = (selector) => element.querySelector(selector);
  const within = (count, most = MOST) => Math.min(Math.max(count, FEWEST), most);
  trigger = triggerEvent;

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
    const [focused, add, remove] = [document.activeElement, find(".add"), find(".remove")];
    props.value = within(count);
    draw();
    if (focused === add && add.hidden) remove.focus();
    if (focused === remove && remove.hidden) add.focus();
  }

  find(".add").addEventListener("click", () => set(props.value + 1));
  find(".remove").addEventListener("click", () => set(props.value - 1));
  watch("value", draw);
  onRuns(draw);
  draw();
}

/** @param {Form} form */
const requestOf = ({ count, models, ...form }) => ({ models: models.slice(0, count || 0), ...form });

let known = null; // the models of the last event
let generated = null; // the models whose texts are displayed
let resting = 0;

/** Handles a change of the tab, the view or a column. @param {Form & { tab: string, view: string }} state */
export function follow({ tab, view, ...form }) {
  clearTimeout(resting);
  if (tab === "compare") resting = setTimeout(() => moved(view, requestOf(form)), REST_MS);
}

function moved(view, request) {
  const now = JSON.stringify(request.models);
  if (!request.models.length || request.models.some((model) => !model?.run)) return;
  generated ??= now; // generate nothing until the button is pressed or a model changes
  const fresh = now !== known;
  known = now;
  if (view === "texts" && now !== generated) {
    generated = now;
    trigger("generate", request);
  } else if (fresh) {
    trigger("models_changed", request);
    const scored = document.querySelector("#compare-difference .letters span");
    if (view === "scored" && scored) document.getElementById("compare-score").click();
  }
}

/** Handles a click on Generate all. Always generates, also if the request has not changed. @param {Form} form */
export function generate(form) {
  const request = requestOf(form);
  generated = known = JSON.stringify(request.models);
  trigger("generate", request);
}
