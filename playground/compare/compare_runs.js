// @ts-check
// value: the ids of the chosen runs. Drawn with textContent only: titles are other people's words.

import { dot, make } from "../services/dom.js";
import { onRuns, runs } from "../services/runs.js";
import { lineup } from "./lineup.js";

export function mount({ element, props, trigger, watch }) {
  const chips = element.querySelector(".chips");
  const USUAL = 3; // runs drawn before anybody has chosen: those of the columns
  let heard = ""; // how far the chosen runs were when they were last drawn

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
    if (!props.value && runs().length) props.value = first.slice(0, USUAL).map((row) => row.id);
    const rows = [...first, ...runs().filter((row) => !first.includes(row))];
    const known = JSON.stringify(rows.map((row) => [row.id, row.title, row.slot]));
    if (chips.dataset.known !== known) {
      chips.dataset.known = known;
      chips.replaceChildren(...rows.map(chip));
    }
    for (const box of chips.querySelectorAll("input")) box.checked = chosen().includes(box.value);
  }

  // The losses and the states tell of all news that a chart or a table would show.
  function listen() {
    draw();
    const now = JSON.stringify(
      runs()
        .filter((row) => chosen().includes(row.id))
        .map((row) => [row.id, row.loss, row.state, row.steps.length]),
    );
    if (heard && now !== heard) trigger("news", {});
    heard = now;
  }

  // What is set from here is not watched.
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
