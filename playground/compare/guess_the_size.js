// @ts-check
// A guessing game: which model wrote which text?
// `value`: {prompt, texts, question, over, names, chosen, right, score} or null. Rendered with textContent only.

import { sentencesOf } from "../browser/constants.js";
import { button, dot, make } from "../browser/dom.js";
import { fill } from "../browser/format.js";

const SENTENCES = sentencesOf("compare");

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  const [question, row, begin, verdict] = [".introduction", ".cards", ".begin", ".verdict"].map(find);
  const letter = (i) => "ABCD"[i];

  function card(i) {
    const made = make("section", "card");
    const text = make("div", "writing");
    text.tabIndex = 0;
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", fill(SENTENCES.GENERATED_BY, { letter: letter(i) }));
    text.append(make("span", "prompt"), make("span", "text"));
    const label = fill(SENTENCES.GUESS, { letter: letter(i) });
    const guess = button(label, "small guess", () => trigger("guess", { choice: i }));
    made.append(make("h3", "", letter(i)), make("p", "name"), text, guess);
    return made;
  }

  function name(made, known, right) {
    const heading = made.querySelector(".name");
    heading.replaceChildren();
    if (!known) return;
    const facts = make("span", "quiet", known.facts);
    const title = make("b");
    title.append(dot(known), " ", known.title);
    title.title = known.title;
    heading.append(title, facts);
    made.classList.toggle("right", right);
  }

  function result({ chosen, right, names }) {
    const template = chosen === right ? SENTENCES.RIGHT : SENTENCES.WRONG;
    return fill(template, { letter: letter(right), title: names[right].title });
  }

  function draw() {
    const value = props.value;
    if (!value) return;
    const { texts, names, over } = value;
    if (row.childElementCount !== texts.length) row.replaceChildren(...texts.map((_, i) => card(i)));
    Array.from(row.children).forEach((made, i) => {
      made.classList.remove("right");
      name(made, names?.[i], i === value.right);
      for (const [part, text] of Object.entries({ prompt: value.prompt, text: texts[i] })) {
        const node = made.querySelector(`.${part}`);
        if (node.textContent !== text) node.textContent = text;
      }
      const guess = made.querySelector(".guess");
      if (names && guess === document.activeElement) begin.focus();
      guess.disabled = !over;
      guess.style.visibility = names ? "hidden" : ""; // hidden, but keeps its space
    });
    question.textContent = value.question;
    question.classList.add("question");
    begin.textContent = SENTENCES.ANOTHER_ROUND;
    verdict.textContent = [names && result(value), value.score].filter(Boolean).join(" ");
  }

  begin.addEventListener("click", () => trigger("begin", {}));
  watch("value", draw);
  draw();
}
