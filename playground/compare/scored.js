// @ts-check
// Compares two models on a scored text: each character is colored by which model predicted it better.
// `value`: {text, parts, models: [{title, step, slot, parameters, loss, choices, bits}]} or null. Rendered with
// textContent only.

import { sentencesOf } from "../browser/constants.js";
import { dot, make } from "../browser/dom.js";
import { fill, finePercent, glyph, number, signed } from "../browser/format.js";

const SENTENCES = sentencesOf("compare");

export function mount({ element, props, watch }) {
  const find = (selector) => element.querySelector(selector);
  const [letters, box, probabilities] = [".letters", ".writing", ".said"].map(find);
  const [first, second] = element.querySelectorAll("select");
  const FULL = 3; // difference in bits that gets the strongest color: a factor of 8 in probability
  const STRONGEST = 70; // maximum color share in percent, so that the letters stay readable
  const NATS = Math.log(2);

  let models = []; // with unpacked bits
  let characters = [];
  let selectedIndex = null;

  const name = ({ title, step }) => fill(SENTENCES.MODEL_AT_STEP, { title, step: number(step) });
  const pair = () => [models[Number(first.value)], models[Number(second.value)]];

  function unpacked({ bits, ...rest }, parts) {
    const { buffer } = Uint8Array.from(atob(bits), (byte) => byte.charCodeAt(0));
    return { ...rest, bits: Array.from(new Uint16Array(buffer), (part) => part / parts) };
  }

  function draw() {
    const value = props.value;
    find(".found").hidden = !value;
    find(".note").hidden = Boolean(value);
    if (!value) return;
    const before = [first.value, second.value];
    const known = models.map(name).join();
    models = value.models.map((model) => unpacked(model, value.parts));
    characters = Array.from(value.text);
    selectedIndex = null;
    find(".losses tbody").replaceChildren(...models.map(lossRow));
    find(".two").hidden = models.length < 2;
    for (const select of [first, second]) select.replaceChildren(...models.map(option));
    // By default, select the smallest and the largest model.
    const bySize = models.map((_, i) => i).sort((a, b) => models[a].parameters - models[b].parameters);
    const kept = known === models.map(name).join() && before.every((one) => one !== "");
    [first.value, second.value] = kept ? before : [bySize[0], bySize.at(-1)];
    letters.replaceChildren(
      ...characters.map((character) => make("span", character === "\n" ? "newline" : "", character)),
    );
    paint();
  }

  function lossRow(model) {
    const row = make("tr");
    const title = make("th");
    title.append(dot(model), " ", name(model));
    row.append(title, make("td", "", model.loss), make("td", "", model.choices));
    return row;
  }

  function option(model, i) {
    const made = make("option", "", name(model));
    made.value = i;
    return made;
  }

  function paint() {
    if (models.length < 2) return;
    const [one, other] = pair();
    Array.from(letters.children).forEach((letter, i) => {
      const gain = one.bits[i] - other.bits[i]; // positive: the second model assigns a higher probability
      letter.style.setProperty("--strength", `${Math.round(STRONGEST * Math.min(1, Math.abs(gain) / FULL))}%`);
      letter.classList.toggle("for-second", gain > 0);
    });
    showProbabilities();
    drawKinds();
  }

  // Shows the mean difference by kind of character: first letters choose the word, later ones are mostly spelling.
  function drawKinds() {
    const [one, other] = pair();
    const letter = (character) => character !== undefined && /[\p{L}\p{N}]/u.test(character);
    const kinds = [
      { kind: SENTENCES.FIRST_LETTERS, holds: (i) => letter(characters[i]) && !letter(characters[i - 1]) },
      { kind: SENTENCES.LATER_LETTERS, holds: (i) => letter(characters[i]) && letter(characters[i - 1]) },
      { kind: SENTENCES.SPACES_AND_PUNCTUATION, holds: (i) => !letter(characters[i]) },
      { kind: SENTENCES.ALL_CHARACTERS, holds: () => true },
    ];
    const mean = (places) => (NATS * places.reduce((sum, i) => sum + other.bits[i] - one.bits[i], 0)) / places.length;
    const rows = kinds
      .map(({ kind, holds }) => ({ kind, places: characters.map((_, i) => i).filter(holds) }))
      .filter(({ places }) => places.length);
    find(".where caption").textContent = fill(SENTENCES.DIFFERENCE_CAPTION, { other: name(other), one: name(one) });
    find(".where tbody").replaceChildren(
      ...rows.map(({ kind, places }) => {
        const row = make("tr");
        row.append(
          make("th", "", kind),
          make("td", "quiet", number(places.length)),
          make("td", "", signed(mean(places))),
        );
        return row;
      }),
    );
  }

  function showProbabilities() {
    for (const [i, letter] of Array.from(letters.children).entries())
      letter.classList.toggle("inspected", i === selectedIndex);
    if (selectedIndex === null) {
      probabilities.textContent = SENTENCES.CLICK_CHARACTER;
      return;
    }
    const shares = models.map((model) => `${model.title} ${finePercent(2 ** -model.bits[selectedIndex])}`);
    probabilities.textContent = `${glyph(characters[selectedIndex])}: ${shares.join(", ")}`;
  }

  function look(index) {
    selectedIndex = index;
    showProbabilities();
  }

  letters.addEventListener("click", ({ target }) => {
    const index = Array.prototype.indexOf.call(letters.children, target);
    if (index >= 0) look(index === selectedIndex ? null : index);
  });
  const WAYS = { ArrowLeft: -1, ArrowRight: 1 };
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return look(null);
    if (!WAYS[event.key] || !characters.length || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    look(selectedIndex === null ? 0 : Math.max(0, Math.min(selectedIndex + WAYS[event.key], characters.length - 1)));
    letters.children[selectedIndex].scrollIntoView({ block: "nearest" });
  });
  for (const select of [first, second]) select.addEventListener("change", paint);
  watch("value", draw);
  draw();
}
