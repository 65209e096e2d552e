// @ts-check
// The browser tab's title says when a run is over: people look elsewhere while it trains.

import { onRuns, runs } from "../services/runs.js";

const ACTIVE = ["queued", "running", "stalled"];
const OVER = {
  completed: (row) => (row.loss === null ? "✓" : `✓ ${row.loss.toFixed(2)}`),
  failed: () => "✕ failed",
  diverged: () => "✕ diverged",
};
const NAME = "nano-llm";
let before = new Map();

onRuns(() => {
  for (const row of runs()) {
    const was = before.get(row.id);
    if (ACTIVE.includes(was) && OVER[row.state]) document.title = `${OVER[row.state](row)} · ${NAME}`;
    if (row.state === "running" && was !== "running") document.title = NAME;
  }
  before = new Map(runs().map((row) => [row.id, row.state]));
});
