// @ts-check
// Receives the ablation effects and the types of the heads and passes them to the grid of heads.

import { inspection } from "../inspection_store.js";

/** Shows the progress and the summary of a ranking. `value`: {of, total, text, stamp}; frames hold finished ones. */
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

/** Receives the type of each head, for tooltips and screen readers. `value`: {of, stamp}. Renders nothing itself. */
export function names({ props, watch }) {
  const receive = () => inspection.set({ names: props.value?.of ? props.value : null });
  watch("value", receive);
  receive();
}
