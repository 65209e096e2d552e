// @ts-check
// Lists the runs of the catalogue and marks the selected one.

import { sentencesOf } from "../browser/constants.js";
import { button, dot, make } from "../browser/dom.js";
import { age, fill, ordinal } from "../browser/format.js";
import { onRuns, runs, state } from "../browser/runs.js";
import { selection } from "../browser/selection.js";
import { createRowMenu } from "../components/row_menu.js";
import { sheet } from "./page_state.js";

const SENTENCES = sentencesOf("shell");

export function mount({ element, trigger }) {
  const list = element.querySelector("ul");
  const none = element.querySelector(".none");
  const menu = createRowMenu({
    element,
    draw,
    rename: (run, title) => trigger("rename", { run, title }),
    remove: (run) => trigger("remove", { run }),
    question: SENTENCES.DELETE_RUN,
    maxLength: 120,
  });

  const loss = (row) => (row.loss === null ? "" : row.loss.toFixed(2));

  function facts(row) {
    const [icon, word] = state(row);
    const share = row.state === "running" && row.num_steps ? ` ${Math.floor((100 * row.step) / row.num_steps)}%` : "";
    const created = age(Date.now() / 1000 - row.created);
    if (!row.mine && !row.shipped) return fill(SENTENCES.VIEWED_BY_LINK, { age: created });
    const position = row.place === 1 ? SENTENCES.NEXT_IN_QUEUE : ordinal(row.place ?? 0);
    const queue = row.state === "queued" && row.place ? `, ${position}` : "";
    return `${icon} ${word}${share}${queue} · ${row.shipped ? SENTENCES.PRETRAINED : created}`;
  }

  // Identifies a row's structure: the row is rebuilt when its key changes. Everything else is updated in place.
  const key = (row) =>
    JSON.stringify([row.title, row.slot, row.mine, row.id === selection.state.run, menu.mode(row.id)]);

  function built(row) {
    const made = make("li", row.id === selection.state.run ? "chosen" : "");
    made.dataset.run = row.id;
    made.dataset.key = key(row);
    const pick = button("", "pick", () => {
      trigger("pick", { run: row.id });
      sheet(false);
    });
    if (row.id === selection.state.run) pick.setAttribute("aria-current", "true");
    const words = make("span", "words");
    words.append(make("span", "title", row.title), make("span", "facts"));
    pick.append(dot(row), words, make("span", "loss"));
    made.append(pick);
    if (row.mine) menu.append(made, { id: row.id, name: row.title });
    else made.append(make("span", "more")); // the other runs cannot be changed
    return made;
  }

  function item(row) {
    const before = Array.from(list.children).find((one) => one.dataset.run === row.id);
    const now = before?.dataset.key === key(row) ? before : built(row);
    now.querySelector(".pick").title = row.reason ? `${row.title}\n${row.reason}` : row.title;
    now.querySelector(".facts").textContent = facts(row);
    now.querySelector(".loss").textContent = loss(row);
    return now;
  }

  // A training run's row changes every second. Rows are reused where possible, because replacing one would lose a click
  // on it or a name that the user is typing.
  function draw() {
    const rows = runs();
    none.hidden = rows.length > 0;
    const focused = list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.run : null;
    const more = document.activeElement?.classList.contains("more");
    const items = rows.map(item);
    for (const one of Array.from(list.children)) if (!items.includes(one)) one.remove();
    for (const [i, one] of items.entries())
      if (one !== list.children[i]) list.insertBefore(one, list.children[i] ?? null);
    if (list.contains(document.activeElement)) return;
    if (focused) list.querySelector(`li[data-run="${CSS.escape(focused)}"] ${more ? ".more" : ".pick"}`)?.focus();
  }

  selection.subscribe(draw, "run");
  onRuns(draw);
  setInterval(draw, 30000);
  draw();
}
