// @ts-check
// Registry of the shaded texts on the page, and a store for their events.

import { createStore } from "../../browser/store.js";

/** @type {Record<string, any>} id → methods: look, underline, focus, read; with a model also choose, back … */
export const texts = {};

export const textEvents = createStore({
  /** The selected character. @type {{ panel: string, place: string, index: number | null, entry: any } | null} */
  looked: null,
  /** Id of the text that was last started or completed. @type {string | null} */
  drawn: null,
});

/** The request that a text answers, used for the equivalent Python call; null before the first request. */
export const currentRequest = ({ place }) => texts[place]?.request?.() ?? null;

/** Updates a text for the selected snapshot with the current prompt and settings (reply to the event `follow`). */
export const follow = ({ place, ...form }) => texts[place]?.follow(form);

/** Handles a click on Generate. */
export const generate = ({ place, ...form }) => texts[place]?.generate(form);
