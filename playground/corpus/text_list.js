// @ts-check
// Lists the available texts, with a menu to rename or delete the user's own.
// `value`: {chosen, ours, yours}. A row is {sha256, name, facts, fixed}, or {builtin, name, facts} for a built-in text
// that has not been downloaded yet. Rendered with textContent only.

import { sentencesOf } from "../services/constants.js";
import { button, make } from "../services/dom.js";
import { fill } from "../services/format.js";

const WORDS = sentencesOf("components");

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  let open = null; // the row whose menu is open: {sha256, mode: "menu" | "rename" | "remove"}

  const close = () => show(null);
  function show(next) {
    open = next;
    draw();
    element.querySelector(".menu input, .menu button")?.focus();
  }

  function renaming(row) {
    const form = make("form", "menu");
    const input = make("input");
    input.value = row.name;
    input.maxLength = 200;
    input.setAttribute("aria-label", WORDS.NEW_NAME);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name && name !== row.name) trigger("rename", { sha256: row.sha256, name });
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
      make("p", "", sentencesOf("corpus").DELETE_TEXT),
      button(WORDS.DELETE, "small danger", () => {
        trigger("remove", { sha256: row.sha256 });
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
    for (const [word, mode] of [
      [WORDS.RENAME, "rename"],
      [WORDS.DELETE, "remove"],
    ])
      made.append(button(word, "small", () => show({ sha256: row.sha256, mode })));
    return made;
  }

  function item(row) {
    const chosen = row.sha256 !== undefined && row.sha256 === props.value.chosen;
    const made = make("li", chosen ? "chosen" : "");
    const pick = button("", "pick", () => {
      if (row.sha256) trigger("pick", { sha256: row.sha256 });
      else trigger("bring", { builtin: row.builtin });
    });
    if (chosen) pick.setAttribute("aria-current", "true");
    const words = make("span", "words");
    words.append(make("span", "title", row.name), make("span", "facts", row.facts));
    pick.append(words);
    pick.title = row.name;
    made.append(pick);
    if (!row.sha256 || row.fixed) return made;
    const opened = open?.sha256 === row.sha256;
    const more = button("⋯", "more", () => (opened ? close() : show({ sha256: row.sha256, mode: "menu" })));
    more.setAttribute("aria-label", fill(WORDS.RENAME_OR_DELETE, row));
    more.setAttribute("aria-expanded", String(opened));
    made.append(more);
    if (opened) made.append(menu(row));
    return made;
  }

  function draw() {
    const { ours, yours } = props.value;
    find(".ours").replaceChildren(...ours.map(item));
    find(".yours").replaceChildren(...yours.map(item));
    find(".own").hidden = yours.length === 0;
  }

  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) close();
  });
  watch("value", draw);
  draw();
}
