// @ts-check
// Shows the model's alternatives to the selected character, before and after temperature and top-k.
// `value`: {temperature, top_k}. The character comes from the shaded text.

import { sentencesOf } from "../../browser/constants.js";
import { button, make } from "../../browser/dom.js";
import { fill, finePercent, glyph, ordinal } from "../../browser/format.js";
import { shaped } from "./probabilities.js";
import { textEvents, texts } from "./texts.js";

const SENTENCES = sentencesOf("components");

export function mount({ element, props, watch }) {
  const find = (selector) => element.querySelector(selector);
  const root = find(".choices");
  const [hint, card, bars, advice, back] = [".hint", ".chosen", ".alternatives", ".advice", ".back"].map(find);
  const MOST = 6; // candidates shown, plus the character itself if it is not among them

  let looked = null; // {place, index, entry}

  const settings = () => ({ temperature: 0.8, top_k: 40, ...props.value });
  const choosable = () => Boolean(texts[looked?.place]?.choose);

  function rows({ character, bits, rank, candidates }) {
    const { all, of } = shaped(looked.entry, settings().temperature, settings().top_k);
    const top = candidates.slice(0, MOST).map((one, i) => ({ ...one, before: 2 ** -one.bits, after: all[i] }));
    if (top.some((one) => one.character === character)) return top;
    return [...top, { character, before: 2 ** -bits, after: of(bits, rank) }];
  }

  function filled(name, share) {
    const made = make("i", name);
    made.style.width = `${Math.max(100 * share, share > 0 ? 0.5 : 0)}%`;
    return made;
  }

  function row({ character, before, after }) {
    const own = character === looked.entry.character;
    const made = make("li", own ? "own" : "");
    const choice = button("", "", ({ detail }) => {
      const text = texts[looked.place];
      text.choose(looked.index, character);
      if (!detail) text.focus(); // activated by keyboard: the list is about to change, so return the focus to the text
    });
    choice.disabled = own || !choosable();
    const track = make("span", "shares");
    track.append(filled("model", before), filled("dialled", after));
    const [was, is] = [finePercent(before), finePercent(after)];
    choice.append(make("b", "", glyph(character)), track, make("span", "share", was), make("span", "share is", is));
    const label = own ? "CURRENT_CHARACTER" : choosable() ? "CHOOSE_CHARACTER" : "ALTERNATIVE";
    choice.setAttribute("aria-label", fill(SENTENCES[label], { character: glyph(character), before: was, after: is }));
    made.append(choice);
    return made;
  }

  function draw() {
    const entry = looked?.entry;
    hint.hidden = Boolean(entry);
    card.hidden = !entry;
    root.classList.toggle("open", Boolean(entry));
    back.hidden = !Object.values(texts).some((text) => text.steps?.());
    if (!entry) return;
    find(".glyph").textContent = glyph(entry.character);
    const [probability, rank] = [finePercent(2 ** -entry.bits), ordinal(entry.rank)];
    find(".said span").textContent = fill(SENTENCES.PROBABILITY_AND_RANK, { probability, rank });
    find(".said").title = fill(SENTENCES.BITS, { bits: entry.bits.toFixed(2) });
    const focused = Array.from(bars.children).findIndex((made) => made.contains(document.activeElement));
    bars.replaceChildren(...rows(entry).map(row));
    bars.children[focused]?.firstChild.focus(); // restore the keyboard focus
    advice.textContent = choosable() ? SENTENCES.CHOOSE_ANOTHER : "";
  }

  textEvents.subscribe(({ looked: now }) => {
    if (now.panel !== root.id) return;
    looked = now.entry ? now : null;
    draw();
  }, "looked");
  find(".close").addEventListener("click", () => {
    const text = texts[looked.place];
    text.look(null);
    text.focus();
  });
  card.addEventListener("keydown", (event) => event.key === "Escape" && find(".close").click());
  back.addEventListener("click", () => {
    Object.values(texts)
      .find((text) => text.steps?.())
      ?.back();
    draw();
  });
  watch("value", draw);
  draw();
}
