// @ts-check
// What each head does, in words: for the grid, which tells it to pointers and screen readers. Nothing is drawn here.

import { inside } from "../inspection_store.js";

export function mount({ props, watch }) {
  const take = () => inside.put("names", props.value?.of ? props.value : null);
  watch("value", take);
  take();
}
