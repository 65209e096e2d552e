// @ts-check
// The text, shaded by where one of its characters looks: the head comes from the grid, the character from the pointer,
// the keyboard or a tap. `value` brings a frame, or a note why there is none; all other views read it from nano.inside.

import { runs } from "../../services/runs.js";
import { inside } from "../inspection_store.js";

export function mount({ element, props, trigger, watch, server }) {
  const text = element.querySelector(".text-view");
  const caption = element.querySelector(".text-caption");
  const GLANCES = text.dataset.glances; // what the page's time bar calls the place that it drags through
  const EVEN = 0.25; // a row that is spread out more evenly than this stays pale
  const LIGHT_ON_DARK = 0.6; // from this much of the strongest colour on, letters change to the other end of the scale

  let built = null; // the characters that are on the page
  let looking = null; // index of the character whose row is shown; null: the last

  const row = () => Math.min(looking ?? frame().size - 1, frame().size - 1);

  function build() {
    const written = frame().characters.join("\u0000");
    if (written === built) return;
    built = written;
    looking = null;
    text.replaceChildren();
    for (const [index, character] of frame().characters.entries()) {
      const letter = document.createElement("span");
      letter.textContent = character === "\n" ? "⏎" : character;
      letter.dataset.index = index;
      if (character === "\n" || character === "\t") letter.className = "sign";
      text.append(letter);
      if (character === "\n") text.append(document.createElement("br"));
    }
  }

  function tint(letter, share) {
    const mixed = `color-mix(in srgb, var(--attention-to) ${(100 * share).toFixed(1)}%, var(--attention-from))`;
    letter.style.background = share > 0.02 ? mixed : "";
    letter.style.color = share > LIGHT_ON_DARK ? "var(--attention-from)" : "";
  }

  function summary(weights) {
    const found = weights.map((weight, index) => [weight, index]).sort((a, b) => b[0] - a[0]);
    const top = found.slice(0, 3).filter(([weight]) => weight >= 0.005);
    const places = top.map(([weight, index]) => `${inside.glyph(frame().characters[index])} ${inside.percent(weight)}`);
    const from = inside.glyph(frame().characters[row()]);
    return `${inside.label(inside.shown())}, from “${from}”: ${places.join(" · ")}`;
  }

  function shade() {
    caption.hidden = text.hidden = !frame();
    if (!frame()) return;
    const weights = inside.weights(inside.shown(), row());
    const strongest = Math.max(...weights, EVEN);
    for (const letter of text.querySelectorAll("span")) {
      const index = Number(letter.dataset.index);
      tint(letter, index <= row() ? Math.sqrt(weights[index] / strongest) : 0);
      letter.classList.toggle("looking", index === row());
      letter.classList.toggle("ahead", index > row());
    }
    caption.textContent = summary(weights);
  }

  function look(index) {
    if (!frame() || index === row()) return;
    looking = index;
    shade();
    const letter = text.querySelector(".looking");
    if (document.activeElement === text) letter.scrollIntoView({ block: "nearest" });
  }

  function take() {
    inside.put("note", props.value?.note ?? "");
    if (!props.value?.weights) inside.show(null);
    else if (arrived(props.value)) inside.show(props.value);
  }

  const indexAt = (event) => {
    const letter = event.target.closest("span[data-index]");
    return letter && Number(letter.dataset.index);
  };
  const KEYS = { ArrowLeft: () => row() - 1, ArrowRight: () => row() + 1, Home: () => 0, End: () => frame().size - 1 };
  for (const kind of ["pointerover", "pointerdown"]) {
    text.addEventListener(kind, (event) => indexAt(event) !== null && look(indexAt(event)));
  }
  text.addEventListener("keydown", (event) => {
    const key = KEYS[event.key];
    if (!key || !frame()) return;
    event.preventDefault();
    look(Math.min(Math.max(key(), 0), frame().size - 1));
  });

  // Frames of the snapshots beside the one that is shown, fetched ahead, so that dragging the time bar does not wait.
  const frame = () => inside.held.frame;
  const ROOM = 600_000; // characters that are fetched ahead at a time
  const MOST = 24; // frames that are kept
  const ahead = new Map(); // what the server sent, by snapshot and text, the least recently used first

  const keyOf = (value) => `${value.stamp}\n${value.characters.join("")}`;
  let round = null; // the latest fetching; an earlier one ends

  function keep(value) {
    ahead.delete(keyOf(value));
    ahead.set(keyOf(value), value);
    if (ahead.size > MOST) ahead.delete(ahead.keys().next().value);
  }

  async function fetchAhead(value) {
    const [run, step] = [value.stamp.slice(0, value.stamp.lastIndexOf(" ")), value.step];
    const steps = runs().find((row) => row.id === run)?.steps ?? [];
    const distance = (other) => Math.abs(steps.indexOf(other) - steps.indexOf(step));
    const near = steps.filter((other) => other !== step).sort((one, other) => distance(one) - distance(other));
    const text = value.characters.join("");
    const mine = (round = Symbol(run));
    for (const other of near.slice(0, Math.max(2, Math.floor(ROOM / value.weights.length)))) {
      if (ahead.has(`${run} ${other}\n${text}`)) continue;
      const found = await server.frame({ run, step: other, text }).catch(() => null);
      if (!found?.weights || round !== mine) return;
      keep(found);
    }
  }

  let reached = null; // {run, step, passing}: where the time bar has come to
  let passed = false; // ▶ has gone by, and the server was not asked about all that is to be seen

  const ask = () => {
    passed = false;
    trigger("ask", {});
  };

  // A frame has arrived: it is kept, and what lies beside it is fetched. Whether the time bar still stands there.
  function arrived(value) {
    keep(value);
    const late =
      Number.isInteger(reached?.step) && value.stamp === `${reached.run} ${value.step}` && value.step !== reached.step;
    if (!late) fetchAhead(value);
    return !late;
  }

  // The time bar moves: what is there is shown at once. Once ▶ has come to rest, the rest is asked for.
  document.addEventListener("nano:question", ({ detail }) => {
    if (detail.what !== "glance" || detail.place !== GLANCES) return;
    reached = detail;
    if (document.body.dataset.tab !== "attention" || !frame()) return;
    const found = ahead.get(`${detail.run} ${detail.step}\n${frame().characters.join("")}`);
    if (found && found.stamp !== frame().stamp) inside.show(found);
    if (found && detail.passing) fetchAhead(found);
    if (passed && !detail.passing) ask();
  });

  // The selection has changed. While ▶ passes by frames that are here, only that is asked for which is not in them.
  function moved() {
    const { dataset } = document.body;
    const ranking = Object.keys(inside.held.effects?.of ?? {}).length < inside.held.effects?.total;
    passed = Boolean(reached?.passing) && !ranking && frame()?.stamp === `${reached.run} ${reached.step}`;
    if (!passed) ask();
    else if (dataset.lens && dataset.lens !== "looks") trigger("turn", {});
    if (dataset.whole) trigger("whole", {});
  }

  // What is found out later about the heads that are shown belongs to their frame.
  inside.on("effects names", () => {
    const kept = frame() && ahead.get(keyOf(frame()));
    for (const what of ["effects", "names"])
      if (kept && inside.held[what]?.stamp === kept.stamp) kept[what] = inside.held[what];
  });
  inside.on("frame", () => frame() && build());
  inside.on("frame head pointed", shade);
  watch("value", take);
  take();
  inside.on("moved", moved);
  if (inside.held.moved) moved();
}
