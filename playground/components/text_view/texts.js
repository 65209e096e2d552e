// @ts-check
// The shaded texts on the page, by their ids, and what happens in them.

import { createStore } from "../../services/store.js";

/** @type {Record<string, any>} what each text offers: look, underline, focus, read; with a model also choose, back … */
export const texts = {};

export const textEvents = createStore({
  /** The character that is looked at. @type {{ panel: string, place: string, index: number | null, entry: any } | null} */
  looked: null,
  /** The text that was drawn last, at its beginning or its end. @type {string | null} */
  drawn: null,
});

/** The request that a text answers, for the Python call that gives the same; null before the first. */
export const currentRequest = ({ place }) => texts[place]?.request?.() ?? null;

/** Moves to the selection with the prompt and sampling settings as they stand now (answers the event `follow`). */
export const follow = ({ place, ...form }) => texts[place]?.follow(form);

/** Generate was pressed. */
export const generate = ({ place, ...form }) => texts[place]?.generate(form);
