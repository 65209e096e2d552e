// @ts-check
// value: {name, facts, text, page, pages, train, validation, frequencies, more, odd, different_odd} or null.

import { make } from "../services/dom.js";

export function mount({ element, props, trigger, watch }) {
  const find = (selector) => element.querySelector(selector);
  const number = (n) => n.toLocaleString("en");
  const input = find(".pager input");

  function drawPager(value) {
    find(".pager").hidden = value.pages < 2;
    find(".pager span").textContent = `of ${number(value.pages)}`;
    if (document.activeElement !== input) input.value = number(value.page + 1);
    find(".before").disabled = value.page === 0;
    find(".after").disabled = value.page >= value.pages - 1;
  }

  function drawSplit(value) {
    const all = Math.max(1, value.train + value.validation);
    find(".learn").style.width = `${(100 * value.train) / all}%`;
    find(".judge").style.width = `${(100 * value.validation) / all}%`;
    find(".legend").textContent =
      `${number(value.train)} characters to learn from, the last ${number(value.validation)} kept back to judge by`;
  }

  function bar([sign, count], most) {
    const made = make("li");
    const ink = make("i");
    ink.style.width = `${(100 * count) / most}%`;
    const track = make("span", "track");
    track.append(ink);
    made.append(make("b", "", sign), track, make("span", "count", number(count)));
    return made;
  }

  function drawSigns(value) {
    const most = value.frequencies.length ? value.frequencies[0][1] : 1;
    find(".frequencies").replaceChildren(...value.frequencies.map((pair) => bar(pair, most)));
    find(".signs .more").textContent = value.more ? `and ${number(value.more)} more, each rarer than these` : "";
    find(".odd").hidden = value.odd.length === 0;
    find(".odd summary").textContent = `Odd characters: ${number(value.different_odd)}`;
    find(".odd ul").replaceChildren(
      ...value.odd.map(([count, words]) => make("li", "", `${number(count)} × ${words}`)),
    );
  }

  // On a small screen the card lies far below what was clicked: whoever brought or chose a text is led to it.
  let name = null;
  function lead(value) {
    const another = name !== null && name !== value.name;
    name = value.name;
    if (!another || window.innerWidth >= 768) return;
    setTimeout(() => element.scrollIntoView({ block: "start" }), 200); // by then the fields above it have their new heights
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
    drawSigns(value);
    lead(value);
  }

  const turn = (page) => trigger("turn", { page });
  find(".before").addEventListener("click", () => turn(props.value.page - 1));
  find(".after").addEventListener("click", () => turn(props.value.page + 1));
  // Whoever comes to type a number need not remove the old one first.
  input.addEventListener("focus", () => {
    input.placeholder = input.value;
    input.value = "";
  });
  input.addEventListener("blur", () => props.value && drawPager(props.value));
  find(".pager").addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = Number(input.value.replace(/\D/g, ""));
    input.blur();
    if (wanted) turn(Math.min(wanted, props.value.pages) - 1);
  });
  watch("value", draw);
  draw();
}
