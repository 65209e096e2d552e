// @ts-check
// Facts about the heads, for the grid: their effects, which it draws as bars, and their types.

import { inspection } from "../inspection_store.js";

/** The progress and the summary of a ranking. `value` is {of, total, text, stamp}; a finished one comes with its frame. */
export function ranking({ element, props, watch }) {
  const progress = element.querySelector(".progress");
  const fill = progress.querySelector("i");
  const summary = element.querySelector(".said");

  function draw() {
    const { of = {}, total = 0, text = "" } = inspection.state.effects ?? {};
    const done = Object.keys(of).length;
    progress.hidden = !total || done >= total;
    progress.setAttribute("aria-valuenow", total ? Math.round((100 * done) / total) : 0);
    fill.style.transform = `scaleX(${total ? done / total : 0})`;
    summary.textContent = text;
  }

  watch("value", () => inspection.set({ effects: props.value }));
  if (props.value?.total) inspection.set({ effects: props.value });
  inspection.subscribe(draw, "frame", "effects");
  draw();
}

/** The type of each head in words, for tooltips and screen readers. `value` is {of, stamp}; nothing is drawn here. */
export function names({ props, watch }) {
  const receive = () => inspection.set({ names: props.value?.of ? props.value : null });
  watch("value", receive);
  receive();
}
