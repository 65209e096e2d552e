// @ts-check
// Shows texts and numbers from Python (components/text.py), rendered with textContent.

import { make } from "../browser/dom.js";

/** A line of text. `value`: a sentence; an empty one hides the line. */
export function line({ element, props, watch }) {
  const node = element.querySelector(".line");
  const draw = () => {
    node.textContent = props.value || "";
    node.hidden = !props.value;
  };
  watch("value", draw);
  draw();
}

/** A list of named numbers. `value`: {name: formatted number, …} */
export function numbers({ element, props, watch }) {
  const list = element.querySelector("dl");

  function row([name, number]) {
    const pair = make("div");
    pair.append(make("dt", "", name), make("dd", "", number));
    return pair;
  }

  const draw = () => list.replaceChildren(...Object.entries(props.value || {}).map(row));
  watch("value", draw);
  draw();
}

/** Whether a text in a scrolling box must follow its end: only if the user has scrolled there. */
export const isAtEnd = (box) => box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 8;

/** A generated text while it streams. `value`: {prompt, text, note}. */
export function writing({ element, props, watch }) {
  const box = element.querySelector(".writing");
  const [prompt, text, note] = ["prompt", "text", "note"].map((name) => box.querySelector(`.${name}`));

  // Appends new characters instead of replacing the text, so that the user's text selection is kept.
  function grow(node, wanted) {
    const first = node.firstChild;
    if (first && wanted.startsWith(first.data)) {
      if (wanted.length > first.data.length) first.appendData(wanted.slice(first.data.length));
    } else node.textContent = wanted;
  }

  function draw() {
    const value = props.value || {};
    const atEnd = isAtEnd(box);
    grow(prompt, value.note ? "" : value.prompt || "");
    grow(text, value.note ? "" : value.text || "");
    grow(note, value.note || "");
    if (!value.text) box.scrollTop = 0;
    else if (atEnd) box.scrollTop = box.scrollHeight;
  }

  watch("value", draw);
  draw();
}

/** Two continuations of a prompt side by side; the first character that differs is marked. */
export function textPair({ element, props, watch }) {
  const columns = [...element.querySelectorAll(".one")];

  function draw() {
    const { prompt = "", texts = [], titles = [], difference: at = null } = props.value ?? {};
    columns.forEach((column, index) => {
      const text = texts[index];
      column.hidden = text === undefined;
      if (text === undefined) return;
      const shown = Array.from(text); // split by code points, as the tokenizer does
      column.querySelector(".title").textContent = titles[index] ?? "";
      const box = column.querySelector(".writing");
      box.replaceChildren(make("span", "prompt", prompt), shown.slice(0, at ?? shown.length).join(""));
      if (at === null) return;
      box.append(make("mark", "", shown[at] === "\n" ? "⏎\n" : (shown[at] ?? "")), shown.slice(at + 1).join(""));
    });
    element.querySelector(".text-pair").classList.toggle("single", texts.length < 2);
  }

  watch("value", draw);
  draw();
}
