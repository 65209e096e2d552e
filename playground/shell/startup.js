// @ts-check
// Runs once on page load: opens the first tab, sets the Tab key order and keeps the browser tab's title up to date.

import { sentencesOf } from "../browser/constants.js";
import { onRuns, runs, state } from "../browser/runs.js";

let clicked = false;
document.addEventListener("click", (event) => (clicked ||= Boolean(event.target.closest?.('[role="tab"]'))), true);
const unchanged = { __type__: "update" };

/** Opens the tab that the address (or the server) names, unless the user clicked one before the server answered. */
export const land = ({ tab }) => (clicked ? [unchanged, unchanged] : [{ ...unchanged, selected: tab }, tab]);

// The Tab key and screen readers follow the DOM order. Gradio cannot place components between the tab names and the
// panels, so the time bar and the guide are moved there once all of them are on the page.
function orderElements() {
  const [names, ...following] = ["#tabs > .tab-wrapper", "#time-bar", "#guide"].map((each) =>
    document.querySelector(each),
  );
  if (!names || following.includes(null)) return;
  arriving.disconnect();
  names.after(...following);
}
const arriving = new MutationObserver(orderElements);
arriving.observe(document.documentElement, { childList: true, subtree: true });

// The browser tab's title shows that a run has ended, for users who switched to another tab during training.
const ACTIVE = ["queued", "running", "stalled"];
const ENDED = ["completed", "failed", "diverged"];
const NAME = sentencesOf("shell").TITLE;
let before = new Map();

function result(row) {
  const [icon, word] = state(row);
  if (row.state !== "completed") return `${icon} ${word}`;
  return row.loss === null ? icon : `${icon} ${row.loss.toFixed(2)}`;
}

onRuns(() => {
  for (const row of runs()) {
    const was = before.get(row.id);
    if (ACTIVE.includes(was) && ENDED.includes(row.state)) document.title = `${result(row)} · ${NAME}`;
    if (row.state === "running" && was !== "running") document.title = NAME;
  }
  before = new Map(runs().map((row) => [row.id, row.state]));
});
