// @ts-check
// Shows the logit lens: one row per layer with its most likely characters, shaded by probability.
// A click on a character selects it.

import { sentencesOf } from "../../services/constants.js";
import { make } from "../../services/dom.js";
import { fill, glyph, percent } from "../../services/format.js";
import { rove } from "../../shell/keyboard.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, trigger, watch }) {
  const table = element.querySelector("tbody");
  const note = element.querySelector(".table-note");
  const stop = rove(table, "tr");

  function cell({ character, share }, picked) {
    const made = make("td");
    const button = make("button", "said", glyph(character));
    button.type = "button";
    button.dataset.character = character;
    button.append(make("span", "share", percent(share)));
    button.setAttribute(
      "aria-label",
      fill(SENTENCES.CONTRIBUTIONS_OF, { character: glyph(character), share: percent(share) }),
    );
    button.setAttribute("aria-pressed", character === picked);
    button.style.background = `color-mix(in srgb, var(--attention-to) ${(100 * share).toFixed(0)}%, var(--attention-from))`;
    if (share > 0.5) button.style.color = "var(--attention-from)";
    made.append(button);
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
    const button = event.target.closest("button");
    if (button) trigger("pick", { character: button.dataset.character });
  });
  watch("value", draw);
  draw();
}
