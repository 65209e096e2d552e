// @ts-check
// Shows the selected text: its pages, its train and validation split, and its character frequencies.
// `value`: {name, facts, text, page, pages, train, validation, frequencies, more, unusual, unusual_count} or null.

import { sentencesOf } from "../browser/constants.js";
import { make } from "../browser/dom.js";
import { fill, number } from "../browser/format.js";

const SENTENCES = sentencesOf("corpus");

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  const input = find(".pager input");

  function drawPager(value) {
    find(".pager").hidden = value.pages < 2;
    find(".pager span").textContent = fill(SENTENCES.OF_PAGES, { count: number(value.pages) });
    if (document.activeElement !== input) input.value = number(value.page + 1);
    find(".before").disabled = value.page === 0;
    find(".after").disabled = value.page >= value.pages - 1;
  }

  function drawSplit(value) {
    const all = Math.max(1, value.train + value.validation);
    find(".learn").style.width = `${(100 * value.train) / all}%`;
    find(".judge").style.width = `${(100 * value.validation) / all}%`;
    const [train, validation] = [number(value.train), number(value.validation)];
    find(".legend").textContent = fill(SENTENCES.SPLIT, { train, validation });
  }

  function bar({ character, count }, most) {
    const made = make("li");
    const ink = make("i");
    ink.style.width = `${(100 * count) / most}%`;
    const track = make("span", "track");
    track.append(ink);
    made.append(make("b", "", character), track, make("span", "count", number(count)));
    return made;
  }

  function drawCharacters(value) {
    const most = value.frequencies[0]?.count ?? 1;
    find(".frequencies").replaceChildren(...value.frequencies.map((row) => bar(row, most)));
    find(".signs .more").textContent = value.more ? fill(SENTENCES.MORE_CHARACTERS, { count: number(value.more) }) : "";
    find(".unusual").hidden = value.unusual.length === 0;
    find(".unusual summary").textContent = fill(SENTENCES.UNUSUAL_COUNT, { count: number(value.unusual_count) });
    find(".unusual ul").replaceChildren(
      ...value.unusual.map(({ count, description }) => make("li", "", `${number(count)} × ${description}`)),
    );
  }

  // On a small screen the card is far below the list: scroll to it after the user selects another text.
  let name = null;
  function lead(value) {
    const another = name !== null && name !== value.name;
    name = value.name;
    if (!another || window.innerWidth >= 768) return;
    setTimeout(() => element.scrollIntoView({ block: "start" }), 200); // after the fields above have resized
  }

  function draw() {
    const value = props.value;
    find(".text-card").hidden = !value;
    if (!value) return;
    find(".name").textContent = value.name;
    find(".facts").textContent = value.facts;
    const preview = find(".preview");
    if (preview.textContent !== value.text) {
      preview.textContent = value.text;
      preview.scrollTop = 0;
    }
    drawPager(value);
    drawSplit(value);
    drawCharacters(value);
    lead(value);
  }

  const turn = (page) => trigger("turn", { page });
  find(".before").addEventListener("click", () => turn(props.value.page - 1));
  find(".after").addEventListener("click", () => turn(props.value.page + 1));
  // Clears the field on focus, so that the user can type a new number immediately.
  input.addEventListener("focus", () => {
    input.placeholder = input.value;
    input.value = "";
  });
  input.addEventListener("blur", () => props.value && drawPager(props.value));
  find(".pager").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = Number(input.value.replace(/\D/g, ""));
    input.blur();
    if (chosen) turn(Math.min(chosen, props.value.pages) - 1);
  });
  watch("value", draw);
  draw();
}
