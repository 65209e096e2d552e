// @ts-check
// A text shaded by surprise, a span a character. value: [head, ...pieces], as components/shaded_text.py makes it.

import { copyText } from "../../services/dom.js";
import * as frames from "../../services/frames.js";
import { unheard } from "../../services/requests.js";
import { runs } from "../../services/runs.js";
import { asked } from "../../shell/url.js";
import * as reading from "./probabilities.js";
import { texts } from "./texts.js";

export function mount({ element, props, trigger, watch, server }) {
  const root = element.querySelector(".shaded-text");
  const box = element.querySelector(".writing");
  const letters = element.querySelector(".letters");
  const note = element.querySelector(".note");
  const [copy, download] = [element.querySelector(".copy"), element.querySelector(".download")];
  const place = root.dataset.place;
  const EMPTY = note.textContent;

  let shown = null; // what is drawn: {stamp, characters, prompt, …, pieces}
  let pieces = []; // what is drawn of it, unpacked
  let vocabulary = [];
  let looking = null; // index of the character that is looked at
  let returning = null; // where to look as soon as there is something
  let copied = []; // [start, end) of stretches to underline

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
    made.title = `${bits.toFixed(1)} bits`;
    return made;
  }

  function clear() {
    letters.replaceChildren();
    [pieces, copied] = [[], []];
    vocabulary = Array.from(shown.characters || "");
    [returning, looking] = [looking ?? returning, null]; // the same place is looked at in the next text
    box.scrollTop = 0;
  }

  function append(packed) {
    const piece = reading.unpack(packed, vocabulary);
    const from = length();
    letters.append(...piece.characters.map((_, i) => letter(piece, i, from + i)));
    pieces.push(piece);
  }

  function draw(value) {
    // Readers start at the beginning: the end is followed only by those who went there.
    const atEnd = box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    const fresh = value.stamp !== shown?.stamp;
    shown = value;
    if (fresh) clear();
    note.textContent = value.note || "";
    value.pieces.slice(pieces.length).forEach(append);
    if (atEnd) box.scrollTop = box.scrollHeight;
    copy.disabled = download.disabled = !length();
    if (fresh || value.finished) document.dispatchEvent(new CustomEvent("nano:text", { detail: { place } }));
    if (returning !== null && (returning < length() || value.finished)) look(returning < length() ? returning : null);
  }

  function underline(spans) {
    copied = spans;
    const inside = (index) => copied.some(([start, end]) => index >= start && index < end);
    Array.from(letters.children).forEach((made, index) => made.classList.toggle("copied", inside(index)));
  }

  // Looking at a character: by a click, or by the keys once the text has the focus.
  function look(index) {
    if (looking !== null) letters.children[looking]?.classList.remove("looking");
    [looking, returning] = [index, null];
    letters.children[index]?.classList.add("looking");
    if (root.dataset.panel) announce();
  }

  // Within the box only: the page stays where it is.
  function reveal(made) {
    const [above, below] = [made.offsetTop - box.scrollTop, made.offsetTop + made.offsetHeight - box.scrollTop];
    if (above < 0) box.scrollTop += above - 8;
    else if (below > box.clientHeight) box.scrollTop += below - box.clientHeight + 8;
  }

  function announce() {
    const entry = looking === null ? null : entryAt(looking);
    document.dispatchEvent(
      new CustomEvent("nano:look", { detail: { panel: root.dataset.panel, place, index: looking, entry } }),
    );
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
    if (event.key === "Enter" && looking !== null) {
      event.preventDefault(); // else the same press would choose what it only leads to
      return document.querySelector(`#${root.dataset.panel} .alternatives button:enabled`)?.focus();
    }
    const way = WAYS[event.key];
    if (!way || !length() || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const first = Math.min(shown.prompt || 0, length() - 1);
    look(looking === null ? first : Math.max(0, Math.min(way(looking), length() - 1)));
    reveal(letters.children[looking]);
  });
  letters.addEventListener("click", (event) => {
    const index = Array.prototype.indexOf.call(letters.children, event.target);
    if (index >= 0 && !String(getSelection())) look(index === looking ? null : index);
  });

  copy.addEventListener("click", async () => {
    copy.textContent = (await copyText(text())) ? "Copied" : "Select it and copy";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  download.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text()], { type: "text/plain;charset=utf-8" }));
    link.download = `${place}.txt`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  texts[place] = { look, underline, focus: () => box.focus(), read };
  const opened = ([head, ...pieces]) => ({ ...head, pieces });
  let take = () => draw(opened(props.value || [{ note: EMPTY }]));
  watch("value", () => take());

  if (root.dataset.follows) followSelection();
  else if (props.value) take();

  function followSelection() {
    // A shaded text that answers questions: it follows the time bar from frame to frame, and goes back on choices.
    const KEPT = "nano-sample"; // the last question of each run, in this browser
    const MOST_RUNS = 50;

    let wanted = null; // the question whose answer is shown, or on its way
    let answer = null; // as far as it has come; null until it begins
    let past = []; // [question, answer] to go back to, the last choice last

    const same = (one, other) => one && other && frames.key(one) === frames.key(other);

    // Answers to what is not asked any more are passed over; so is one that has yet to catch up with the frame on show.
    take = () => {
      const value = opened(props.value || [{ note: EMPTY }]);
      if (value.question && !same(value.question, wanted)) return;
      const onShow =
        value.question && same(shown?.question, frames.short(value.question)) && shown.stamp !== value.stamp;
      if (onShow && !value.finished && characters(value) < length()) return;
      present(value);
    };

    const characters = (value) => value.pieces.reduce((sum, piece) => sum + piece.text.length, 0);

    // What was answered is remembered: a question that was refused would only be refused again.
    function present(value) {
      if (value.question && value.stamp !== answer?.stamp) remember(wanted);
      answer = value;
      draw(value);
      if (!value.finished) return;
      frames.keep(value);
      ahead();
    }

    function show(question, value) {
      [wanted, answer] = [question, null];
      present(value);
    }

    function ask(question) {
      [wanted, answer] = [question, null];
      trigger("ask", question);
    }

    function want(question) {
      past = [];
      const frame = frames.get(question);
      if (!frame) return ask(question);
      trigger("leave", {}); // nobody waits for what is under way
      show(question, frame);
      if (!same(question, frame.question)) later(question);
    }

    // A frame holds the beginning of a long text. Who rests on it gets it all: for longer than ▶ does.
    let resting = 0;
    const REST_MS = 1200;
    function later(question) {
      clearTimeout(resting);
      resting = setTimeout(() => wanted === question && ask(question), REST_MS);
    }

    // The same question at the run's other snapshots, the nearest first, so that moving the time bar never waits.
    function ahead() {
      const steps = runs().find((row) => row.id === wanted?.run)?.steps || [];
      const here = steps.indexOf(wanted?.step);
      const near = steps.map((_, i) => i).sort((a, b) => Math.abs(a - here) - Math.abs(b - here));
      const question = (i) => ({ ...wanted, step: steps[i], kept: "" });
      frames.prefetch(place, near.map(question), (asked) => server.frame(asked).then(opened));
    }

    function follow({ chosen, active, typed }) {
      if (!active || !chosen?.run) return;
      const another = wanted?.run !== chosen.run;
      if (!another && wanted.step === chosen.step) return; // told once more, maybe late: dials wait for Write
      const before = another ? recall(chosen.run, wanted === null) : null;
      const kept = (before?.step === chosen.step && before.kept) || "";
      const question = { ...(before || typed), run: chosen.run, step: chosen.step, kept };
      if (before) trigger("settle", question);
      want(question);
    }

    // Write was pressed: the same question is written again, too.
    function press({ chosen, typed }) {
      past = [];
      shown = null;
      if (chosen?.run) ask({ ...typed, run: chosen.run, step: chosen.step, kept: "" });
    }

    function choose(index, character) {
      const before = Array.from(text()).slice(0, index);
      const prompt = Array.from(wanted.prompt);
      past.push([wanted, answer]);
      const split = Math.min(index, prompt.length);
      const question = {
        ...wanted,
        prompt: before.slice(0, split).join(""),
        kept: before.slice(split).join("") + character,
      };
      if (index < prompt.length) trigger("settle", question);
      ask(question);
    }

    // A text that was left while it was being written is written to its end.
    function back() {
      if (!past.length) return;
      const [question, before] = past.pop();
      trigger("leave", {});
      trigger("settle", question);
      if (before?.finished) show(question, before);
      else ask(question);
    }

    // The time bar is being dragged: what is there is shown at once. Where it came from stands what stood there.
    function glance({ run, step }) {
      if (run !== wanted?.run) return;
      const frame = step === wanted.step ? answer : frames.get({ ...wanted, step, kept: "" });
      if (frame) draw(frame);
    }

    // The last question of each run comes back with it; on a first look, only if the address asks for nothing else.
    function recall(run, first) {
      const known = stored()[run];

      return known && (!first || asked === null || asked === known.prompt) ? known : null;
    }

    function stored() {
      try {
        return JSON.parse(localStorage.getItem(KEPT)) || {};
      } catch {
        return {};
      }
    }

    function remember(question) {
      const { [question.run]: _, ...others } = stored();
      const all = Object.entries({ ...others, [question.run]: question });
      try {
        localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(all.slice(-MOST_RUNS))));
      } catch {
        // a full or forbidden store: the page works without
      }
    }

    Object.assign(texts[place], { choose, back, steps: () => past.length, question: () => wanted });
    const listeners = { follow, press, glance };
    document.addEventListener(
      "nano:question",
      ({ detail }) => detail.place === place && listeners[detail.what](detail),
    );
    if (unheard[place]) follow(unheard[place]);
  }
}
