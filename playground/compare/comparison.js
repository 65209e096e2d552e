// @ts-check
// Decides when Compare's columns must be generated again.
// One move of the time bar changes several columns in sequence; they are combined into a single request.

const REST_MS = 80;

/** @typedef {{ run: string | null, step: number | null }} Model */

/**
 * The columns' models and settings, passed by the event listeners in playground/compare/texts.py.
 * @typedef {{ count: number, prompt: string, temperature: number, top_k: number, max_length: number, seed: number,
 *   models: Model[] }} Form
 */

/** Triggers an event of the column count component; set by compare_columns.js. */
let trigger = (_event, _request) => {};
export const setTrigger = (next) => (trigger = next);

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
    trigger("ask", request);
  } else if (fresh) {
    trigger("tell", request);
    const scored = document.querySelector("#compare-difference .letters span");
    if (view === "scored" && scored) document.getElementById("compare-score").click();
  }
}

/** Handles a click on Generate all. Always generates, also if the request has not changed. @param {Form} form */
export function generate(form) {
  const request = requestOf(form);
  generated = known = JSON.stringify(request.models);
  trigger("ask", request);
}
