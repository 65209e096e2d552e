// @ts-check
// What the views of Attention share in the browser: a frame (all attention weights over one text at one snapshot, sent
// once), the chosen head and the one under the pointer, and what is known of the heads.

import { createStore } from "../services/store.js";
import { remember } from "../shell/url.js";

/** @typedef {{ layer: number, head: number }} Head counted from 1, as in labels */

export const inspection = createStore({
  /** The frame on show, decoded. @type {any} */
  frame: null,
  /** Why there is no frame. */
  note: "",
  /** @type {Head} */
  head: { layer: 1, head: 1 },
  /** The head under the pointer. @type {Head | null} */
  pointed: null,
  /** A ranking of the heads, {of, total, text, stamp}. @type {any} */
  effects: null,
  /** Names of the heads, {of, stamp}. @type {any} */
  names: null,
});

const held = inspection.state;
const known = /** @type {any} */ (held); // writable

/** What is known of the heads by their labels, if it was found out about the very snapshot on show. */
export const knownOf = (what) => (held.frame && held[what]?.stamp === held.frame.stamp ? held[what].of : {});

// Shows a frame as the server sends it, with what is known of its heads; null: nothing is shown. Its ranking is null
// while one is under way, and shorter than the current one if the frame was sent before that ended.
export function showFrame(value) {
  const { effects = null, names = null } = value ?? {};
  const count = (ranking) => Object.keys(ranking.of).length;
  const outdated = effects && held.effects?.stamp === effects.stamp && count(effects) < count(held.effects);
  // Subscribers to the frame read both: nothing is drawn twice.
  if (!value || (effects && !outdated)) known.effects = effects;
  known.names = names;
  inspection.set({ frame: value && decodeFrame(value) });
}

export function decodeFrame({ weights, ...rest }) {
  const roots = Uint8Array.from(atob(weights), (byte) => byte.charCodeAt(0));
  return { ...rest, size: rest.characters.length, roots };
}

/** @type {(head: Head) => string} */
export const headLabel = ({ layer, head }) => `L${layer}·H${head}`;

// A row of 255 times the root of each weight. Row t has t + 1 of them: attention is causal.
export function rowRoots({ layer, head }, row) {
  const { heads, size, roots } = held.frame;
  const start = (((layer - 1) * heads + head - 1) * size * (size + 1)) / 2 + (row * (row + 1)) / 2;
  return roots.subarray(start, start + row + 1);
}

export const rowWeights = (head, row) => Array.from(rowRoots(head, row), (root) => (root / 255) ** 2);

const clamp = (value, most) => Math.min(Math.max(Number.isInteger(value) ? value : 1, 1), most);

/** A head that the frame's model has: an address may name one of another model. @returns {Head} */
export function validHead(which) {
  const { layers, heads } = held.frame;
  return { layer: clamp(which?.layer, layers), head: clamp(which?.head, heads) };
}

export const shownHead = () => held.pointed ?? validHead(held.head);

/** The chosen head goes into the address. */
export const rememberHead = ({ head }) => remember(head || {});
