// @ts-check
// The browser tab's title says when a run is over: people look elsewhere while it trains.

import { sentencesOf } from "../services/constants.js";
import { onRuns, runs, state } from "../services/runs.js";

const ACTIVE = ["queued", "running", "stalled"];
const OVER = ["completed", "failed", "diverged"];
const NAME = sentencesOf("shell").TITLE;

function result(row) {
  const [icon, word] = state(row);
  if (row.state !== "completed") return `${icon} ${word}`;
  return row.loss === null ? icon : `${icon} ${row.loss.toFixed(2)}`;
}

let before = new Map();

onRuns(() => {
  for (const row of runs()) {
    const was = before.get(row.id);
    if (ACTIVE.includes(was) && OVER.includes(row.state)) document.title = `${result(row)} · ${NAME}`;
    if (row.state === "running" && was !== "running") document.title = NAME;
  }
  before = new Map(runs().map((row) => [row.id, row.state]));
});
