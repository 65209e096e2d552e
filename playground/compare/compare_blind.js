// @ts-check
// value: {prompt, texts, question, over, names, chosen, right, score} or null. textContent only.

import { dot, make } from "../services/dom.js";

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  const [asked, row, begin, verdict] = [".asked", ".cards", ".begin", ".verdict"].map(find);
  const letter = (i) => "ABCD"[i];

  function card(i) {
    const made = make("section", "card");
    const text = make("div", "writing");
    text.tabIndex = 0;
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", `What ${letter(i)} writes`);
    text.append(make("span", "prompt"), make("span", "text"));
    const guess = make("button", "small guess", `${letter(i)}, I think`);
    guess.type = "button";
    guess.addEventListener("click", () => trigger("guess", { choice: i }));
    made.append(make("h3", "", letter(i)), make("p", "name"), text, guess);
    return made;
  }

  function name(made, known, right) {
    const place = made.querySelector(".name");
    place.replaceChildren();
    if (!known) return;
    const facts = make("span", "quiet", known.facts);
    const title = make("b");
    title.append(dot(known), " ", known.title);
    title.title = known.title;
    place.append(title, facts);
    made.classList.toggle("right", right);
  }

  function draw() {
    const value = props.value;
    if (!value) return;
    const { texts, names, over } = value;
    if (row.childElementCount !== texts.length) row.replaceChildren(...texts.map((_, i) => card(i)));
    Array.from(row.children).forEach((made, i) => {
      made.classList.remove("right");
      name(made, names?.[i], i === value.right);
      for (const [part, text] of [
        ["prompt", value.prompt],
        ["text", texts[i]],
      ]) {
        const node = made.querySelector(`.${part}`);
        if (node.textContent !== text) node.textContent = text;
      }
      const guess = made.querySelector(".guess");
      guess.disabled = !over;
      guess.style.visibility = names ? "hidden" : ""; // its room stays
    });
    asked.textContent = value.question;
    asked.classList.add("question");
    begin.textContent = "Another round";
    const told = names
      ? `${value.chosen === value.right ? "Right" : "No"}: it is ${letter(value.right)}, ${names[value.right].title}.`
      : "";
    verdict.textContent = [told, value.score].filter(Boolean).join(" ");
  }

  begin.addEventListener("click", () => trigger("begin", {}));
  watch("value", draw);
  draw();
}
