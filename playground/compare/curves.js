// @ts-check
// Lets the user select the runs to compare. `value`: the ids of the selected runs.
// Rendered with textContent only, because titles are untrusted user input.

import { dot, make } from "../browser/dom.js";
import { lineup, onRuns, runs } from "../browser/runs.js";

export function mount({ element, props, trigger, watch }) {
  const chips = element.querySelector(".chips");
  const DEFAULT_COUNT = 3; // runs selected by default: those of the columns
  let lastProgress = ""; // progress of the selected runs at the last update

  const chosen = () => props.value || [];

  function chip(row) {
    const made = make("label", "chip");
    const box = make("input");
    box.type = "checkbox";
    box.value = row.id;
    box.addEventListener("change", () =>
      set(box.checked ? [...chosen(), row.id] : chosen().filter((id) => id !== row.id)),
    );
    made.append(box, dot(row), make("span", "", row.title));
    return made;
  }

  function draw() {
    const first = lineup(runs());
    if (!props.value && runs().length) props.value = first.slice(0, DEFAULT_COUNT).map((row) => row.id);
    const rows = [...first, ...runs().filter((row) => !first.includes(row))];
    const known = JSON.stringify(rows.map((row) => [row.id, row.title, row.slot]));
    if (chips.dataset.known !== known) {
      chips.dataset.known = known;
      chips.replaceChildren(...rows.map(chip));
    }
    for (const box of chips.querySelectorAll("input")) box.checked = chosen().includes(box.value);
  }

  // Triggers `news` when a loss, a state or a snapshot changes, because charts and tables depend on nothing else.
  function listen() {
    draw();
    const now = JSON.stringify(
      runs()
        .filter((row) => chosen().includes(row.id))
        .map((row) => [row.id, row.loss, row.state, row.steps.length]),
    );
    if (lastProgress && now !== lastProgress) trigger("news", {});
    lastProgress = now;
  }

  // Gradio does not call `watch` for values set here, so redraw explicitly.
  function set(ids) {
    props.value = ids;
    draw();
  }

  element.querySelector(".all").addEventListener("click", () => set(runs().map((row) => row.id)));
  element.querySelector(".none").addEventListener("click", () => set([]));
  watch("value", draw);
  onRuns(listen);
  draw();
}
