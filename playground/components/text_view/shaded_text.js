// @ts-check
// Shows a text shaded by surprisal, with one span per character.
// `value`: [head, ...pieces] (playground/components/text_view).

import { sentencesOf } from "../../browser/constants.js";
import { copyText, downloadText } from "../../browser/dom.js";
import { fill } from "../../browser/format.js";
import { isAtEnd } from "../text.js";
import { followSelection, unpackList } from "./followed_text.js";
import * as reading from "./probabilities.js";
import { textEvents, texts } from "./texts.js";

const SENTENCES = sentencesOf("components");

export function mount({ element, props, trigger, watch, server }) {
  const root = element.querySelector(".shaded-text");
  const box = element.querySelector(".writing");
  const letters = element.querySelector(".letters");
  const note = element.querySelector(".note");
  const [copy, download] = [element.querySelector(".copy"), element.querySelector(".download")];
  const place = root.dataset.place;
  const EMPTY = note.textContent;

  let shown = null; // the displayed value: {stamp, characters, prompt, …, pieces}
  let pieces = []; // its unpacked pieces, as far as they are displayed
  let vocabulary = [];
  let selectedIndex = null; // index of the selected character
  let pendingIndex = null; // index to select again once the new text is long enough
  let copied = []; // [start, end) ranges to underline

  const length = () => letters.childElementCount;
  const text = () => letters.textContent;
  const read = () => ({
    text: text(),
    prompt: shown?.prompt || 0,
    stamp: shown?.stamp,
    finished: Boolean(shown?.finished),
  });

  function entryAt(index) {
    let from = 0;
    for (const piece of pieces) {
      if (index < from + piece.characters.length) return reading.entry(piece, index - from, vocabulary);
      from += piece.characters.length;
    }
    return null;
  }

  function letter(piece, i, index) {
    const made = document.createElement("span");
    made.textContent = piece.characters[i];
    if (piece.characters[i] === "\n") made.className = "newline";
    if (index < (shown.prompt || 0)) made.classList.add("prompt");
    const bits = reading.bitsOf(piece, i);
    made.style.setProperty("--heat", `${reading.heat(bits)}%`);
    made.title = fill(SENTENCES.BITS, { bits: bits.toFixed(1) });
    return made;
  }

  function clear() {
    letters.replaceChildren();
    [pieces, copied] = [[], []];
    vocabulary = Array.from(shown.characters || "");
    [pendingIndex, selectedIndex] = [selectedIndex ?? pendingIndex, null]; // keep the index for the next text
    box.scrollTop = 0;
  }

  function append(packed) {
    const piece = reading.unpack(packed, vocabulary);
    const from = length();
    letters.append(...piece.characters.map((_, i) => letter(piece, i, from + i)));
    pieces.push(piece);
  }

  function draw(value) {
    const atEnd = isAtEnd(box);
    const fresh = value.stamp !== shown?.stamp;
    shown = value;
    if (fresh) clear();
    note.textContent = value.note || "";
    value.pieces.slice(pieces.length).forEach(append);
    if (atEnd) box.scrollTop = box.scrollHeight;
    copy.disabled = download.disabled = !length();
    if (fresh || value.finished) textEvents.set({ drawn: place });
    if (pendingIndex !== null && (pendingIndex < length() || value.finished))
      look(pendingIndex < length() ? pendingIndex : null);
  }

  function underline(spans) {
    copied = spans;
    const inside = (index) => copied.some(([start, end]) => index >= start && index < end);
    for (const [index, made] of Array.from(letters.children).entries()) made.classList.toggle("copied", inside(index));
  }

  // Selects a character, after a click or with the keyboard while the text has the focus.
  function look(index) {
    if (selectedIndex !== null) letters.children[selectedIndex]?.classList.remove("inspected");
    [selectedIndex, pendingIndex] = [index, null];
    letters.children[index]?.classList.add("inspected");
    if (root.dataset.panel) announce();
  }

  // Scrolls a character into view within the box, without scrolling the page.
  function reveal(made) {
    const [above, below] = [made.offsetTop - box.scrollTop, made.offsetTop + made.offsetHeight - box.scrollTop];
    if (above < 0) box.scrollTop += above - 8;
    else if (below > box.clientHeight) box.scrollTop += below - box.clientHeight + 8;
  }

  function announce() {
    const entry = selectedIndex === null ? null : entryAt(selectedIndex);
    textEvents.set({ looked: { panel: root.dataset.panel, place, index: selectedIndex, entry } });
  }

  function lineBelow(index, way) {
    const here = letters.children[index];
    const away = (made) => Math.abs(made.offsetLeft - here.offsetLeft);
    let [best, line] = [index, null];
    for (let i = index + way; i >= 0 && i < length(); i += way) {
      const made = letters.children[i];
      if (made.offsetTop === here.offsetTop) continue;
      line ??= made.offsetTop;
      if (made.offsetTop !== line) break;
      if (best === index || away(made) < away(letters.children[best])) best = i;
    }
    return best;
  }

  const WAYS = {
    ArrowLeft: (index) => index - 1,
    ArrowRight: (index) => index + 1,
    Home: () => 0,
    End: () => length() - 1,
    ArrowUp: (index) => lineBelow(index, -1),
    ArrowDown: (index) => lineBelow(index, 1),
  };

  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return look(null);
    if (event.key === "Enter" && selectedIndex !== null) {
      event.preventDefault(); // otherwise the same key press would activate the button that receives the focus
      return document.querySelector(`#${root.dataset.panel} .alternatives button:enabled`)?.focus();
    }
    const way = WAYS[event.key];
    if (!way || !length() || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const first = Math.min(shown.prompt || 0, length() - 1);
    look(selectedIndex === null ? first : Math.max(0, Math.min(way(selectedIndex), length() - 1)));
    reveal(letters.children[selectedIndex]);
  });
  letters.addEventListener("click", (event) => {
    const index = Array.prototype.indexOf.call(letters.children, event.target);
    if (index >= 0 && !String(getSelection())) look(index === selectedIndex ? null : index);
  });

  copy.addEventListener("click", async () => {
    copy.textContent = (await copyText(text())) ? SENTENCES.COPIED : SENTENCES.SELECT_AND_COPY;
    setTimeout(() => (copy.textContent = SENTENCES.COPY), 1500);
  });
  download.addEventListener("click", () => {
    downloadText(`${place}.txt`, text());
  });

  const forget = () => (shown = null);
  texts[place] = { look, underline, focus: () => box.focus(), read };
  const { tab } = root.dataset; // only a text that a model generates has a tab
  const view = { draw, length, text, shown: () => shown, forget };
  const followed = tab ? followSelection({ place, tab, view, trigger, server }) : null;
  Object.assign(texts[place], followed);
  const receive = () => (followed?.receive ?? draw)(unpackList(props.value || [{ note: EMPTY }]));
  watch("value", receive);
  if (props.value) receive();
}
