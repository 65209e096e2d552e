// @ts-check
// Shared state of the Attention views: the current frame, the selected head, and the heads' effects and names.
// A frame contains all attention weights for one text at one snapshot; the server sends each frame once.

import { createStore } from "../browser/store.js";
import { remember } from "../shell/url.js";

/** @typedef {{ layer: number, head: number }} Head counted from 1, as in labels */

export const inspection = createStore({
  /** The displayed frame, decoded. @type {any} */
  frame: null,
  /** Why there is no frame. */
  note: "",
  /** @type {Head} */
  head: { layer: 1, head: 1 },
  /** The head under the pointer. @type {Head | null} */
  pointed: null,
  /** A ranking of the heads, {of, total, text, stamp}. @type {any} */
  effects: null,
  /** Types of the heads by label, {of, stamp}. @type {any} */
  names: null,
});

const state = inspection.state;
const writable = /** @type {any} */ (state);

/** Effects or names by head label; empty if they belong to another snapshot or text than the displayed frame. */
export const knownOf = (what) => (state.frame && state[what]?.stamp === state.frame.stamp ? state[what].of : {});

// Shows a frame from the server with its effects and names; null clears the view. A frame has no effects while a
// ranking is running, and fewer than the store if it was sent before the ranking finished.
export function showFrame(value) {
  const { effects = null, names = null } = value ?? {};
  const count = (ranking) => Object.keys(ranking.of).length;
  const outdated = effects && state.effects?.stamp === effects.stamp && count(effects) < count(state.effects);
  // Written directly, without notifying: subscribers to `frame` read both, so nothing is drawn twice.
  if (!value || (effects && !outdated)) writable.effects = effects;
  writable.names = names;
  inspection.set({ frame: value && decodeFrame(value) });
}

export function decodeFrame({ weights, ...rest }) {
  const roots = Uint8Array.from(atob(weights), (byte) => byte.charCodeAt(0));
  return { ...rest, size: rest.characters.length, roots };
}

/** @type {(head: Head) => string} */
export const headLabel = ({ layer, head }) => `L${layer}·H${head}`;

// Returns a row of attention weights, each encoded as 255 * sqrt(weight). Row t has t + 1 entries (causal attention).
export function rowRoots({ layer, head }, row) {
  const { heads, size, roots } = state.frame;
  const start = (((layer - 1) * heads + head - 1) * size * (size + 1)) / 2 + (row * (row + 1)) / 2;
  return roots.subarray(start, start + row + 1);
}

export const rowWeights = (head, row) => Array.from(rowRoots(head, row), (root) => (root / 255) ** 2);

const clamp = (value, most) => Math.min(Math.max(Number.isInteger(value) ? value : 1, 1), most);

/** Clamps a head to the frame's model, because the address may name a head of another model. @returns {Head} */
export function validHead(which) {
  const { layers, heads } = state.frame;
  return { layer: clamp(which?.layer, layers), head: clamp(which?.head, heads) };
}

export const shownHead = () => state.pointed ?? validHead(state.head);

/** Stores the selected head in the address. */
export const rememberHead = ({ head }) => remember(head || {});
