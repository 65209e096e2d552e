// @ts-check
// The time bar: selects a run and one of its snapshots. `value`: {run, step}.
// The page's bar writes the selection that all tabs follow. The bars of Compare's columns (with a rank) move to the
// same fraction of their run's training as the page's bar.

import { sentencesOf } from "../browser/constants.js";
import { make, paint } from "../browser/dom.js";
import { fill, number } from "../browser/format.js";
import { atShare, lineup, nearest, onRuns, runOf, runs, state, stepsOf } from "../browser/runs.js";
import { selection } from "../browser/selection.js";
import { page } from "./page_state.js";

const SENTENCES = sentencesOf("shell");
const SETTLE_MS = 140; // delay after which a dragged slider counts as moved
const FRAME_MS = 900; // time per snapshot during playback
const GONE_MS = 4000; // delay before an unknown run is reported as not found

/** @param {import("../types.js").Component} component */
export function mount({ element, props, watch }) {
  const bar = element.querySelector(".time-bar");
  const select = bar.querySelector("select");
  const dot = bar.querySelector(".dot");
  const word = bar.querySelector(".state");
  const play = bar.querySelector(".play");
  const slider = bar.querySelector("input");
  const marks = bar.querySelector(".marks");
  const label = bar.querySelector("output");

  const rank = bar.dataset.rank === "" ? null : Number(bar.dataset.rank); // Compare's column; null: page
  let newest = null; // the newest step at the last draw, to detect whether it was selected
  let settling = 0;
  let playing = 0;
  let goneTimer = 0;

  const chosen = () => props.value || { run: null, step: null };
  const run = () => runOf(chosen().run);
  const steps = () => run()?.steps || [];
  const last = () => steps().at(-1) ?? null;

  function announce(motion, { run, step } = chosen()) {
    if (rank === null) selection.set({ run, step, motion });
  }

  // Set the value first, so that requests from subscribers use the new selection.
  function choose(runId, step) {
    const now = chosen();
    if (now.run === runId && now.step === step) return;
    props.value = { run: runId, step };
    draw();
    announce(playing ? "play" : "rest");
  }

  function index() {
    const at = steps().indexOf(chosen().step);
    return at >= 0 ? at : Math.max(0, steps().length - 1);
  }

  function stepText(i) {
    const step = steps()[i];
    if (step === undefined) return SENTENCES.NO_SNAPSHOT;
    return fill(i === run().best ? SENTENCES.BEST_STEP : SENTENCES.STEP, { step: number(step) });
  }

  function drawOptions() {
    const known = runs()
      .map((row) => `${row.id}\n${row.title}`)
      .join("\n");
    if (select.dataset.known !== known) {
      select.dataset.known = known;
      const options = runs().map((row) => Object.assign(make("option", "", row.title), { value: row.id }));
      select.replaceChildren(...options);
    }
    select.value = run()?.id ?? "";
    select.title = run()?.title ?? "";
  }

  function mark(className, text, i) {
    const made = make("i", className, text);
    made.style.left = `${steps().length > 1 ? (100 * i) / (steps().length - 1) : 0}%`;
    return made;
  }

  function drawMarks() {
    const row = run();
    const key = JSON.stringify([row?.id, steps(), row?.best]);
    if (marks.dataset.key === key) return;
    marks.dataset.key = key;
    const ticks = steps().map((step, i) => mark(step === 0 ? "tick zero" : "tick", "", i));
    const best = row && row.best !== null && steps().length > 1 ? [mark("star", "★", row.best)] : [];
    marks.replaceChildren(...ticks, ...best);
  }

  function drawState() {
    const row = run();
    const [icon, text] = row ? state(row) : ["", ""];
    const gone = chosen().run && !row;
    word.textContent = row ? `${icon} ${text}` : gone ? "…" : "";
    word.title = row?.reason || "";
    paint(dot, row);
    clearTimeout(goneTimer);
    if (gone) goneTimer = setTimeout(showGone, GONE_MS);
  }

  function showGone() {
    if (!run()) word.textContent = SENTENCES.RUN_NOT_FOUND;
  }

  function draw() {
    bar.dataset.empty = String(!runs().length);
    drawOptions();
    drawMarks();
    drawState();
    const count = steps().length;
    slider.max = String(Math.max(0, count - 1));
    slider.disabled = play.disabled = count < 2;
    if (!settling) {
      slider.value = String(index());
      label.textContent = run() ? stepText(index()) : "";
    }
    slider.setAttribute("aria-valuetext", label.textContent);
  }

  // Sets the initial selection: the last snapshot of the newest run (in Compare, of the run for this column). If there
  // are fewer runs than columns, the column shows the last run's first snapshot instead.
  function begin() {
    const ready = rank === null ? runs().filter((one) => one.steps.length) : lineup(runs());
    const row = ready[Math.min(rank ?? 0, ready.length - 1)] || runs()[0];
    if (!row) return;
    const surplus = (rank ?? 0) >= ready.length;
    choose(row.id, row.steps.length ? row.steps[surplus ? 0 : row.steps.length - 1] : null);
  }

  // New rows move the selection only from the newest snapshot, from no snapshot, or from one that was deleted.
  function follow() {
    if (chosen().run === null) begin();
    const now = chosen();
    const row = run();
    if (row?.steps.length) {
      const wasNewest = now.step === null || now.step === newest;
      if (wasNewest && now.step !== last()) choose(row.id, last());
      else if (!row.steps.includes(now.step)) choose(row.id, nearest(steps(), now.step));
    }
    newest = last();
    draw();
  }

  function settle(i) {
    clearTimeout(settling);
    label.textContent = stepText(i);
    const moved = { run: run()?.id ?? null, step: steps()[i] ?? null };
    announce("drag", moved);
    settling = setTimeout(() => {
      settling = 0;
      if (moved.step === chosen().step) announce("rest");
      choose(moved.run, moved.step);
    }, SETTLE_MS);
  }

  function pause() {
    if (!playing) return;
    clearInterval(playing);
    playing = 0;
    play.classList.remove("on");
    play.setAttribute("aria-label", SENTENCES.PLAY);
    announce("rest");
  }

  function start() {
    play.classList.add("on");
    play.setAttribute("aria-label", SENTENCES.PAUSE);
    playing = setInterval(() => {
      if (index() >= steps().length - 1) return pause();
      choose(run().id, steps()[index() + 1]);
    }, FRAME_MS);
    choose(run().id, steps()[index() >= steps().length - 1 ? 0 : index() + 1]);
  }

  select.addEventListener("change", () => {
    pause();
    choose(select.value, stepsOf(select.value).at(-1) ?? null);
    newest = last();
  });
  slider.addEventListener("input", () => {
    pause();
    settle(Number(slider.value));
  });
  play.addEventListener("click", () => (playing ? pause() : start()));

  // Handles a new value from the server: announces it once, after resolving its snapshot.
  function receive() {
    newest = chosen().step === null ? null : last();
    follow();
    const { run, step } = selection.state;
    if (run !== chosen().run || step !== chosen().step) announce("rest");
  }

  let share = { run: null, share: null }; // position of the page's bar, as a fraction of the run's training

  function followPage({ run: runId, step, motion }) {
    if (motion === "drag") return;
    const all = stepsOf(runId);
    const before = share;
    share = { run: runId, share: all.length > 1 ? step / all.at(-1) : null };
    const moved = share.run === before.run && share.share !== before.share && share.share !== null;
    if (moved && page.state.tab === "compare" && run()) choose(run().id, atShare(steps(), share.share));
  }

  watch("value", receive);
  onRuns(follow);
  if (rank !== null) {
    followPage(selection.state); // where the page's bar is before its first move
    selection.subscribe(followPage);
  }
  receive();
}
