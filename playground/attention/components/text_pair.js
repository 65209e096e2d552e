// @ts-check
// Shows two continuations of a prompt side by side and marks the first character that differs.
// Rendered with textContent only.

import { make } from "../../services/dom.js";

export function mount({ element, props, watch }) {
  const columns = [...element.querySelectorAll(".one")];

  function draw() {
    const { prompt = "", texts = [], titles = [], parts_at: at = null } = props.value ?? {};
    columns.forEach((column, index) => {
      const text = texts[index];
      column.hidden = text === undefined;
      if (text === undefined) return;
      const shown = Array.from(text); // split by code points, as the tokenizer does
      column.querySelector(".title").textContent = titles[index] ?? "";
      const writing = column.querySelector(".writing");
      writing.replaceChildren(make("span", "prompt", prompt));
      if (at === null) {
        writing.append(shown.join(""));
        return;
      }
      writing.append(shown.slice(0, at).join(""));
      const mark = make("mark", "", shown[at] === "\n" ? "⏎\n" : (shown[at] ?? ""));
      writing.append(mark, shown.slice(at + 1).join(""));
    });
    element.querySelector(".text-pair").classList.toggle("single", texts.length < 2);
  }

  watch("value", draw);
  draw();
}
