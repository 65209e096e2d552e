// @ts-check
// The selected run and snapshot, shared by all tabs.
// The time bar writes the selection; Sample, Attention, Compare, the run list and the address subscribe to it.

import { createStore } from "./store.js";

/**
 * `motion` is how the time bar reached the selection:
 * - "rest": the time bar has stopped: fetch all missing data;
 * - "play": ▶ shows this snapshot briefly: fetch only the visible data;
 * - "drag": the slider is being dragged: show cached data, fetch nothing.
 * @typedef {{ run: string | null, step: number | null, motion: "rest" | "play" | "drag" }} Selection
 */

export const selection = createStore(/** @type {Selection} */ ({ run: null, step: null, motion: "rest" }));
