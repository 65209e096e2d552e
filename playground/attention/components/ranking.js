// @ts-check
// How far the ranking of the heads is, and what it says. The grid shows what it found, as the bars beside its thumbnails.
// `value` is a ranking as it goes on, {of, total, said, stamp}; one that is known already comes with its frame.

import { inspection } from "../inspection_store.js";

export function mount({ element, props, watch }) {
  const progress = element.querySelector(".progress");
  const fill = progress.querySelector("i");
  const said = element.querySelector(".said");

  function draw() {
    const { of = {}, total = 0, said: sentence = "" } = inspection.state.effects ?? {};
    const done = Object.keys(of).length;
    progress.hidden = !total || done >= total;
    progress.setAttribute("aria-valuenow", total ? Math.round((100 * done) / total) : 0);
    fill.style.transform = `scaleX(${total ? done / total : 0})`;
    said.textContent = sentence;
  }

  watch("value", () => inspection.set({ effects: props.value }));
  if (props.value?.total) inspection.set({ effects: props.value });
  inspection.subscribe(draw, "frame", "effects");
  draw();
}
