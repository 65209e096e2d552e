// @ts-check
// Completes Plotly figures with attention data that is already in the browser. A chart's `fill` names the function.

import { headLabel, inspection, rowWeights, validHead } from "./inspection_store.js";

const state = inspection.state;

// Adds the selected head's weights to a heatmap whose axes and labels come from the server.
export function heatmap(figure) {
  const { frame } = state;
  if (!figure?.data || frame?.size !== figure.layout.xaxis.tickvals.length) return figure;
  const which = validHead(state.head);
  const glyphs = figure.layout.xaxis.ticktext;
  const z = glyphs.map((_, row) => rowWeights(which, row));
  const text = glyphs.map((from, row) => glyphs.slice(0, row + 1).map((to) => `${headLabel(which)}: ${from} → ${to}`));
  const zmax = frame.brightest[(which.layer - 1) * frame.heads + which.head - 1];
  return { ...figure, data: [{ ...figure.data[0], z, text, zmax }] };
}

// Selects one head's curves from a figure that contains all heads, and marks the current step with a line.
export function history(figure) {
  const curves = figure?.heads?.[headLabel(state.frame ? validHead(state.head) : state.head)];
  if (!curves) return figure;
  const now = { type: "line", yref: "paper", y0: 0, y1: 1, line: { color: "var(--action)", width: 1 } };
  const at = Math.max(state.frame?.step ?? 0, 1); // step 0 is drawn at 1 because the axis is logarithmic
  return { ...figure, data: curves, layout: { ...figure.layout, shapes: [{ ...now, x0: at, x1: at }] } };
}

/** Calls the listener when the figures must be redrawn. */
export const onChange = (listener) => inspection.subscribe(listener, "frame", "head");
