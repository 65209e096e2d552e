// @ts-check
// Shows diagnoses of a training run, each with a suggested action.
// `value`: [{sentence, evidence, action}, …]. A click on an action triggers `follow` with its index.

import { make } from "../browser/dom.js";

export function mount({ element, props, trigger, watch }) {
  const list = element.querySelector(".doctor");

  function item({ sentence, evidence, action }, index) {
    const made = make("li");
    const words = make("p", "", sentence);
    const button = make("button", "small", action);
    button.type = "button";
    button.addEventListener("click", () => {
      button.disabled = true; // prevent double clicks; the next value rebuilds the button
      trigger("follow", { index });
      setTimeout(() => (button.disabled = false), 3000);
    });
    made.append(words, make("p", "quiet", evidence), button);
    return made;
  }

  // Redraws only when the content changes, because replacing a button would lose a click on it.
  let shown = "";
  function draw() {
    const key = JSON.stringify(props.value || []);
    if (key === shown) return;
    shown = key;
    list.replaceChildren(...(props.value || []).map(item));
    list.hidden = !list.children.length;
  }

  list.hidden = true;
  watch("value", draw);
  draw();
}
