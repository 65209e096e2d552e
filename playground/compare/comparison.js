// @ts-check
// When Compare's columns are to be generated anew. One move of the time bar changes several columns one after the other:
// the server is asked once, when they rest.

const REST_MS = 80;

/** @typedef {{ run: string | null, step: number | null }} Model */

/**
 * What the columns show: listeners bring these fields (playground/compare/texts.py).
 * @typedef {{ count: number, prompt: string, temperature: number, top_k: number, max_length: number, seed: number,
 *   models: Model[] }} Form
 */

/** Triggers an event of the component that counts the columns; set by its script. */
let trigger = (_event, _request) => {};
export const setTrigger = (next) => (trigger = next);

/** @param {Form} form */
const requestOf = ({ count, models, ...form }) => ({ models: models.slice(0, count || 0), ...form });

let known = null; // the models, as they were last announced
let generated = null; // the models whose texts are shown
let resting = 0;

/** The tab, the view or a column changed. @param {Form & { tab: string, view: string }} state */
export function follow({ tab, view, ...form }) {
  clearTimeout(resting);
  if (tab === "compare") resting = setTimeout(() => moved(view, requestOf(form)), REST_MS);
}

function moved(view, request) {
  const now = JSON.stringify(request.models);
  if (!request.models.length || request.models.some((model) => !model?.run)) return;
  generated ??= now; // nothing is generated before the button is pressed once or a model changes
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

/** Generate all was pressed: the same request is generated again, too. @param {Form} form */
export function generate(form) {
  const request = requestOf(form);
  generated = known = JSON.stringify(request.models);
  trigger("ask", request);
}
