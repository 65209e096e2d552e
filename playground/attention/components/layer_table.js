// @ts-check
// Shows the logit lens: one row per layer with its most likely characters, shaded by probability.
// A click on a character selects it.

import { sentencesOf } from "../../browser/constants.js";
import { button, make } from "../../browser/dom.js";
import { fill, glyph, percent } from "../../browser/format.js";
import { rove } from "../../browser/keyboard.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, trigger, watch }) {
  const table = element.querySelector("tbody");
  const note = element.querySelector(".table-note");
  const stop = rove(table, "tr");

  function cell({ character, share }, picked) {
    const made = make("td");
    const choice = button(glyph(character), "said");
    const label = fill(SENTENCES.CONTRIBUTIONS_OF, { character: glyph(character), share: percent(share) });
    choice.dataset.character = character;
    choice.append(make("span", "share", percent(share)));
    choice.setAttribute("aria-label", label);
    choice.setAttribute("aria-pressed", character === picked);
    choice.style.background = `color-mix(in srgb, var(--attention-to) ${(100 * share).toFixed(0)}%, var(--attention-from))`;
    if (share > 0.5) choice.style.color = "var(--attention-from)";
    made.append(choice);
    return made;
  }

  function draw() {
    const { rows = [], picked = null, note: text = "" } = props.value ?? {};
    const focused = document.activeElement?.closest?.("td") && table.contains(document.activeElement);
    const drawn = rows.map(({ label, characters }) => {
      const row = make("tr");
      const head = make("th", "", label);
      head.scope = "row";
      row.append(head, ...characters.map((each) => cell(each, picked)));
      return row;
    });
    table.replaceChildren(...drawn);
    note.textContent = text;
    const chosen = [...table.querySelectorAll("button")].reverse().find((each) => each.dataset.character === picked);
    stop(chosen);
    if (focused) chosen?.focus();
  }

  table.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (chosen) trigger("pick", { character: chosen.dataset.character });
  });
  watch("value", draw);
  draw();
}
