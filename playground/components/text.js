// @ts-check
// Shows short texts and numbers from Python (components/text.py), rendered with textContent.

import { make } from "../services/dom.js";

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
