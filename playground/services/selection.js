// @ts-check
// The run and snapshot that every tab shows. The time bar writes it; Sample, Attention, Compare, the run list and the
// address subscribe.

import { createStore } from "./store.js";

/**
 * `motion` says how the time bar got there:
 * - "rest": the selection is final until somebody moves it: fetch whatever is missing;
 * - "play": ▶ stays on this snapshot for a moment: fetch only what it would show;
 * - "drag": the slider is being dragged: show what is cached, fetch nothing.
 * @typedef {{ run: string | null, step: number | null, motion: "rest" | "play" | "drag" }} Selection
 */

export const selection = createStore(/** @type {Selection} */ ({ run: null, step: null, motion: "rest" }));
