// @ts-check
// The menu of a row in a list: renames the item, or deletes it after a confirmation.

import { sentencesOf } from "../browser/constants.js";
import { button, make } from "../browser/dom.js";
import { fill } from "../browser/format.js";

const SENTENCES = sentencesOf("components");

/**
 * @param {{ element: HTMLElement, draw: () => void, rename: (id: string, name: string) => void,
 *   remove: (id: string) => void, question: string, maxLength: number }} list the list's element, a function that draws
 *   its rows again, what the menu does, and the question before an item is deleted
 */
export function createRowMenu({ element, draw, rename, remove, question, maxLength }) {
  let open = null; // the row whose menu is open: {id, mode: "choose" | "rename" | "remove"}

  const close = () => show(null);
  function show(next) {
    const row = (next ?? open)?.id;
    open = next;
    draw();
    const target = next ? ".menu input, .menu button" : `.more[data-row="${CSS.escape(row)}"]`;
    element.querySelector(target)?.focus();
  }

  function menu(tag, ...parts) {
    const made = make(tag, "menu");
    made.append(...parts);
    return made;
  }

  const MENUS = {
    choose: ({ id }) =>
      menu(
        "div",
        button(SENTENCES.RENAME, "small", () => show({ id, mode: "rename" })),
        button(SENTENCES.DELETE, "small", () => show({ id, mode: "remove" })),
      ),
    rename: ({ id, name }) => {
      const input = Object.assign(make("input"), { value: name, maxLength });
      input.setAttribute("aria-label", SENTENCES.NEW_NAME);
      const save = Object.assign(make("button", "small action", SENTENCES.RENAME), { type: "submit" });
      const form = menu("form", input, save, button(SENTENCES.CANCEL, "small", close));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const next = input.value.trim();
        if (next && next !== name) rename(id, next);
        close();
      });
      return form;
    },
    remove: ({ id }) => {
      const confirm = button(SENTENCES.DELETE, "small danger", () => {
        remove(id);
        close();
      });
      return menu("div", make("p", "", question), confirm, button(SENTENCES.KEEP, "small", close));
    },
  };

  /** The mode of a row's menu; null if it is closed. */
  const mode = (id) => (open?.id === id ? open.mode : null);

  /** Appends the button ⋯ to a row, and its menu if that is open. */
  function append(item, row) {
    const opened = mode(row.id);
    const more = button("⋯", "more", () => (opened ? close() : show({ id: row.id, mode: "choose" })));
    more.setAttribute("aria-label", fill(SENTENCES.RENAME_OR_DELETE, row));
    more.setAttribute("aria-expanded", String(opened !== null));
    more.dataset.row = row.id;
    item.append(more);
    if (opened) item.append(MENUS[opened](row));
  }

  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation(); // the run list on small screens stays open
    close();
  });
  return { append, mode };
}
