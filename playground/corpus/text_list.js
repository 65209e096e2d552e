// @ts-check
// Lists the available texts, with a menu to rename or delete the user's own.
// `value`: {chosen, ours, yours}. A row is {sha256, name, facts, fixed}, or {builtin, name, facts} for a built-in text
// that has not been downloaded yet. Rendered with textContent only.

import { sentencesOf } from "../browser/constants.js";
import { button, make } from "../browser/dom.js";
import { createRowMenu } from "../components/row_menu.js";

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  const menu = createRowMenu({
    element,
    draw,
    rename: (sha256, name) => trigger("rename", { sha256, name }),
    remove: (sha256) => trigger("remove", { sha256 }),
    question: sentencesOf("corpus").DELETE_TEXT,
    maxLength: 200,
  });

  function item({ sha256, builtin, name, facts, fixed }) {
    const chosen = sha256 !== undefined && sha256 === props.value.chosen;
    const made = make("li", chosen ? "chosen" : "");
    made.dataset.name = name;
    const pick = button("", "pick", () => (sha256 ? trigger("pick", { sha256 }) : trigger("download", { builtin })));
    if (chosen) pick.setAttribute("aria-current", "true");
    const words = make("span", "words");
    words.append(make("span", "title", name), make("span", "facts", facts));
    pick.append(words);
    pick.title = name;
    made.append(pick);
    if (sha256 && !fixed) menu.append(made, { id: sha256, name });
    return made;
  }

  function draw() {
    const { ours, yours } = props.value;
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    const name = focused?.closest("li")?.dataset.name;
    find(".ours").replaceChildren(...ours.map(item));
    find(".yours").replaceChildren(...yours.map(item));
    find(".own").hidden = yours.length === 0;
    if (name === undefined) return;
    const button = focused.classList.contains("more") ? ".more" : ".pick";
    find(`li[data-name="${CSS.escape(name)}"] ${button}`)?.focus(); // the keyboard focus stays on the row
  }

  watch("value", draw);
  draw();
}
