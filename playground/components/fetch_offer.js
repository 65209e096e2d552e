// @ts-check
// Offers to download the training text of a displayed run if the text is a built-in one that is missing on the server.
// `value`: {runs: ids of the displayed runs}. A click triggers `fetch` with {builtin}. Once the text is available,
// also after another visitor's download, the component triggers `arrived`.

import { onRuns, runOf } from "../browser/runs.js";
import { selection } from "../browser/selection.js";

export function mount({ element, props, trigger, watch }) {
  const button = element.querySelector("button");
  let offered = null; // the missing text at the last draw: {run, builtin}

  const followsPage = button.dataset.follows === "selection"; // otherwise `value` lists the runs
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
