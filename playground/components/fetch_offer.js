// @ts-check
// value: {runs: ids of the runs shown}. The offer is visible while the training text of one of them is known but not on
// this machine; it triggers `fetch` with {builtin}, and `arrived` once the text is there, also if another visitor fetched it.

import { onRuns, runOf } from "../services/runs.js";
import { selection } from "../services/selection.js";

export function mount({ element, props, trigger, watch }) {
  const button = element.querySelector("button");
  let offered = null; // what was lacking when last drawn: {run, builtin}

  const followsPage = button.dataset.follows === "selection"; // else the value says which runs
  const looked = () => (followsPage ? [selection.state.run] : props.value.runs).map(runOf).filter(Boolean);

  function draw() {
    const rows = looked();
    const row = rows.find((one) => one.lacks);
    const came = offered && !row && rows.some((one) => one.id === offered.run);
    offered = row ? { run: row.id, builtin: row.lacks } : null;
    button.hidden = !row;
    if (came) trigger("arrived");
  }

  button.addEventListener("click", () => offered && trigger("fetch", { builtin: offered.builtin }));
  watch("value", draw);
  onRuns(draw);
  if (followsPage) selection.subscribe(draw);
  draw();
}
