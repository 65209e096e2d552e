// @ts-check

import { fills } from "../components/plotly_fills.js";
import { remember as rememberInUrl } from "../shell/url.js";

// What the views of Attention share in the browser: a frame (all weights over one text at one snapshot, sent once), the head
// that is chosen and the one that is pointed at, and how much heads matter. Views put in what they receive, and are told.
export const inside = (() => {
  const GLYPHS = { " ": "␣", "\n": "⏎", "\t": "⇥" };
  const held = {
    frame: null,
    note: "",
    head: { layer: 1, head: 1 },
    pointed: null,
    effects: null,
    names: null,
    moved: false,
  };
  const listeners = {};

  // What is known of the heads by their labels, {stamp, of}, if it was found out about the very snapshot that is shown.
  const known = (what) => (held.frame && held[what]?.stamp === held.frame.stamp ? held[what].of : {});

  function put(what, value) {
    held[what] = value;
    (listeners[what] || []).forEach((listener) => listener(value));
  }

  // Calls the listener whenever one of these (names in `held`, apart by spaces) has changed.
  function on(what, listener) {
    what.split(" ").forEach((each) => (listeners[each] ||= []).push(listener));
  }

  // A frame as the server sends it, with what is known of its heads; null: nothing is shown. What it knows of their
  // ranking is null while that is under way, and less than is held if it was on its way until the ranking was over.
  function show(value) {
    const { effects = null, names = null } = value ?? {};
    const count = (ranking) => Object.keys(ranking.of).length;
    const late = effects && held.effects?.stamp === effects.stamp && count(effects) < count(held.effects);
    if (!value || (effects && !late)) held.effects = effects;
    held.names = names;
    put("frame", value && decoded(value));
  }

  const glyph = (character) => GLYPHS[character] ?? character;
  const label = ({ layer, head }) => `L${layer}·H${head}`;
  const percent = (share) => (share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`);

  function decoded({ weights, ...rest }) {
    const roots = Uint8Array.from(atob(weights), (byte) => byte.charCodeAt(0));
    return { ...rest, size: rest.characters.length, roots };
  }

  // A row's roots (255 times the root of a weight). Row t has t + 1 of them, for nobody looks ahead: heads are triangles.
  function roots({ layer, head }, row) {
    const { heads, size, roots: all } = held.frame;
    const start = (((layer - 1) * heads + head - 1) * size * (size + 1)) / 2 + (row * (row + 1)) / 2;
    return all.subarray(start, start + row + 1);
  }

  const weights = (which, row) => Array.from(roots(which, row), (root) => (root / 255) ** 2);
  const within = (number, most) => Math.min(Math.max(Number.isInteger(number) ? number : 1, 1), most);

  // A head that the frame's model has: numbers in an address may come from another one.
  function fitted(which) {
    const { layers, heads } = held.frame;
    return { layer: within(which?.layer, layers), head: within(which?.head, heads) };
  }

  const shown = () => held.pointed ?? fitted(held.head);

  // The cells of the chosen head, for a figure whose frame and labels came from the server.
  function fillHeatmap(figure) {
    const { frame } = held;
    if (!figure?.data || frame?.size !== figure.layout.xaxis.tickvals.length) return figure;
    const which = fitted(held.head);
    const glyphs = figure.layout.xaxis.ticktext;
    const z = glyphs.map((_, row) => weights(which, row));
    const text = glyphs.map((from, row) => glyphs.slice(0, row + 1).map((to) => `${label(which)}: ${from} → ${to}`));
    const zmax = frame.brightest[(which.layer - 1) * frame.heads + which.head - 1];
    return { ...figure, data: [{ ...figure.data[0], z, text, zmax }] };
  }

  // The chosen head's curves, for a figure that brings those of all heads, by label; and where the time bar stands.
  function fillHistory(figure) {
    const curves = figure?.heads?.[label(held.frame ? fitted(held.head) : held.head)];
    if (!curves) return figure;
    const now = { type: "line", yref: "paper", y0: 0, y1: 1, line: { color: "var(--action)", width: 1 } };
    const at = Math.max(held.frame?.step ?? 0, 1); // step 0 stands where 1 would, on a logarithmic axis
    return { ...figure, data: curves, layout: { ...figure.layout, shapes: [{ ...now, x0: at, x1: at }] } };
  }

  Object.assign(fills, { heatmap: fillHeatmap, history: fillHistory });
  on("frame head", () => held.frame && document.dispatchEvent(new CustomEvent("nano:heatmap")));
  on("frame head", () => document.dispatchEvent(new CustomEvent("nano:history")));
  return { held, put, on, show, known, glyph, label, percent, decoded, roots, weights, fitted, shown };
})();

export function moved({ tab }) {
  if (tab === "attention") inside.put("moved", true);
}

export function remember({ head }) {
  rememberInUrl(head || {});
}
