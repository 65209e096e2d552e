// @ts-check
// Lists the runs of the catalogue and marks the selected one.

import { sentencesOf } from "../services/constants.js";
import { button, dot, make } from "../services/dom.js";
import { age, fill, ordinal } from "../services/format.js";
import { onRuns, runs, state } from "../services/runs.js";
import { selection } from "../services/selection.js";
import { sheet } from "./page_state.js";

const SENTENCES = sentencesOf("shell");
const WORDS = sentencesOf("components");

export function mount({ element, trigger }) {
  const list = element.querySelector("ul");
  const none = element.querySelector(".none");
  let open = null; // the run whose menu is open: {id, mode: "menu" | "rename" | "remove"}

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

  const close = () => show(null);
  function show(next) {
    open = next;
    draw();
    element.querySelector(".menu input, .menu button")?.focus();
  }

  function renaming(row) {
    const form = make("form", "menu");
    const input = make("input");
    input.value = row.title;
    input.maxLength = 120;
    input.setAttribute("aria-label", WORDS.NEW_NAME);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const title = input.value.trim();
      if (title && title !== row.title) trigger("rename", { run: row.id, title });
      close();
    });
    const save = make("button", "small action", WORDS.RENAME);
    save.type = "submit";
    form.append(input, save, button(WORDS.CANCEL, "small", close));
    return form;
  }

  function removing(row) {
    const menu = make("div", "menu");
    menu.append(
      make("p", "", SENTENCES.DELETE_RUN),
      button(WORDS.DELETE, "small danger", () => {
        trigger("remove", { run: row.id });
        close();
      }),
      button(WORDS.KEEP, "small", close),
    );
    return menu;
  }

  function menu(row) {
    if (open.mode === "rename") return renaming(row);
    if (open.mode === "remove") return removing(row);
    const made = make("div", "menu");
    made.append(
      button(WORDS.RENAME, "small", () => show({ id: row.id, mode: "rename" })),
      button(WORDS.DELETE, "small", () => show({ id: row.id, mode: "remove" })),
    );
    return made;
  }

  // Identifies a row's structure: the row is rebuilt when its key changes. Everything else is updated in place.
  const key = (row) =>
    JSON.stringify([row.title, row.slot, row.mine, row.id === selection.state.run, open?.id === row.id && open.mode]);

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
    const more = button("⋯", "more", () => (open?.id === row.id ? close() : show({ id: row.id, mode: "menu" })));
    more.setAttribute("aria-label", fill(WORDS.RENAME_OR_DELETE, { name: row.title }));
    more.setAttribute("aria-expanded", String(open?.id === row.id));
    made.append(pick, row.mine ? more : make("span", "more")); // only the user's own runs can be changed
    if (open?.id === row.id) made.append(menu(row));
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
    if (open && !rows.some((row) => row.id === open.id)) open = null;
    const focused = list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.run : null;
    const more = document.activeElement?.classList.contains("more");
    const items = rows.map(item);
    for (const one of Array.from(list.children)) if (!items.includes(one)) one.remove();
    for (const [i, one] of items.entries())
      if (one !== list.children[i]) list.insertBefore(one, list.children[i] ?? null);
    if (list.contains(document.activeElement)) return;
    if (focused) list.querySelector(`li[data-run="${CSS.escape(focused)}"] ${more ? ".more" : ".pick"}`)?.focus();
  }

  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) close();
  });
  selection.subscribe(draw, "run");
  onRuns(draw);
  setInterval(draw, 30000);
  draw();
}
