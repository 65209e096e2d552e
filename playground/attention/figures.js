// @ts-check
// Figures that the browser completes with what it has already: named by a chart's `fill`.

import { headLabel, inspection, rowWeights, validHead } from "./inspection_store.js";

const held = inspection.state;

// The cells of the chosen head, for a figure whose axes and labels came from the server.
export function heatmap(figure) {
  const { frame } = held;
  if (!figure?.data || frame?.size !== figure.layout.xaxis.tickvals.length) return figure;
  const which = validHead(held.head);
  const glyphs = figure.layout.xaxis.ticktext;
  const z = glyphs.map((_, row) => rowWeights(which, row));
  const text = glyphs.map((from, row) => glyphs.slice(0, row + 1).map((to) => `${headLabel(which)}: ${from} → ${to}`));
  const zmax = frame.brightest[(which.layer - 1) * frame.heads + which.head - 1];
  return { ...figure, data: [{ ...figure.data[0], z, text, zmax }] };
}

// The chosen head's curves, for a figure that brings those of all heads by label, and a line at the current step.
export function history(figure) {
  const curves = figure?.heads?.[headLabel(held.frame ? validHead(held.head) : held.head)];
  if (!curves) return figure;
  const now = { type: "line", yref: "paper", y0: 0, y1: 1, line: { color: "var(--action)", width: 1 } };
  const at = Math.max(held.frame?.step ?? 0, 1); // step 0 is drawn at 1: the axis is logarithmic
  return { ...figure, data: curves, layout: { ...figure.layout, shapes: [{ ...now, x0: at, x1: at }] } };
}

/** Calls the listener when a figure is to be completed anew. */
export const onChange = (listener) => inspection.subscribe(listener, "frame", "head");
