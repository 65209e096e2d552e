// @ts-check
// Shows a table that compares runs and their settings, with a CSV download.
// `value`: {columns, settings, rows, ids, csv} or null. Columns from the index `settings` on are settings. Rendered
// with textContent only.

import { dot, downloadText, make } from "../browser/dom.js";
import { runOf, state } from "../browser/runs.js";

export function mount({ element, props, watch }) {
  const FEW = 4; // settings per run on a narrow screen
  const find = (selector) => element.querySelector(selector);
  const shown = (cell) =>
    typeof cell === "number" ? cell.toLocaleString("en", { maximumFractionDigits: 6 }) : String(cell ?? "–");

  function row(cells, id) {
    const made = make("tr");
    made.append(
      ...cells.map((cell, i) => {
        const text = props.value.columns[i] === "state" ? state({ state: cell }).join(" ") : shown(cell);
        const box = make("td", typeof cell === "number" ? "number" : "", text);
        box.classList.toggle("setting", i >= props.value.settings);
        box.dataset.column = props.value.columns[i]; // shown before the value if there is no header
        if (i === 0) {
          box.title = text;
          const known = runOf(id);
          if (known) box.prepend(dot(known), " ");
        }
        return box;
      }),
    );
    return made;
  }

  // Uses the table layout if all columns fit.
  let width = -1;
  function fit() {
    const { classList } = find(".run-table");
    classList.remove("stacked");
    classList.toggle("stacked", find(".sheet").scrollWidth > find(".sheet").clientWidth);
    width = element.clientWidth;
  }

  function draw() {
    const value = props.value;
    const some = Boolean(value && value.rows.length > 1);
    find(".none").hidden = some;
    find(".sheet").hidden = find("button").hidden = find(".rest").hidden = !some;
    if (!some) return;
    find(".run-table").classList.toggle("many", value.columns.length - value.settings > FEW);
    const head = make("tr");
    head.append(...value.columns.map((name) => make("th", "", name)));
    find("thead").replaceChildren(head);
    find("tbody").replaceChildren(...value.rows.map((cells, i) => row(cells, value.ids[i])));
    fit();
  }

  // The byte order mark makes spreadsheets read the file as UTF-8.
  find("button").addEventListener("click", () => downloadText("runs.csv", `\ufeff${props.value.csv}`, "text/csv"));
  new ResizeObserver(() => element.clientWidth !== width && fit()).observe(element);
  watch("value", draw);
  draw();
}
