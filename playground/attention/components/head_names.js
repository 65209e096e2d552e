// @ts-check
// What each head does, in words: for the grid, which tells it to pointers and screen readers. Nothing is drawn here.

import { inspection } from "../inspection_store.js";

export function mount({ props, watch }) {
  const take = () => inspection.set({ names: props.value?.of ? props.value : null });
  watch("value", take);
  take();
}
