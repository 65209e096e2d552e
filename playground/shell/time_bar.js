// @ts-check
// value: {run, step}. Drawn with textContent only: titles are other people's words.

import { compare } from "../compare/compare.js";
import { make, paint } from "../services/dom.js";
import { glance as tell } from "../services/requests.js";
import { onRuns, runs, state } from "../services/runs.js";

export function mount({ element, props, watch }) {
  const bar = element.querySelector(".time-bar");
  const select = bar.querySelector("select");
  const dot = bar.querySelector(".dot");
  const word = bar.querySelector(".state");
  const play = bar.querySelector(".play");
  const slider = bar.querySelector("input");
  const marks = bar.querySelector(".marks");
  const label = bar.querySelector("output");

  const rank = bar.dataset.rank === "" ? null : Number(bar.dataset.rank); // among the columns of Compare

  const SETTLE_MS = 140; // a dragged slider speaks up once it rests
  const FRAME_MS = 900; // one snapshot of ▶
  const GONE_MS = 4000; // how long a run may be unknown before it counts as gone
  let newest = null; // the newest step drawn, to tell whether the slider stood on it
  let settling = 0;
  let playing = 0;
  let vanishing = 0;

  const chosen = () => props.value || { run: null, step: null };
  const run = () => runs().find((row) => row.id === chosen().run);
  const steps = () => run()?.steps || [];
  const last = () => (steps().length ? steps()[steps().length - 1] : null);

  function choose(runId, step) {
    const now = chosen();
    if (now.run === runId && now.step === step) return;
    glance(runId, step);
    props.value = { run: runId, step };
    draw();
  }

  // Where the bar has come to, and whether ▶ only passes by: what is here already is shown at once, what comes late from
  // elsewhere is not.
  const glance = (runId, step) => tell(bar.dataset.text, runId, step, Boolean(playing));

  function index() {
    const at = steps().indexOf(chosen().step);
    return at >= 0 ? at : Math.max(0, steps().length - 1);
  }

  function stepWord(i) {
    const step = steps()[i];
    if (step === undefined) return "no snapshot yet";
    return `step ${step.toLocaleString("en")}${i === run().best ? " ★" : ""}`;
  }

  function drawOptions() {
    const known = runs()
      .map((row) => `${row.id}\n${row.title}`)
      .join("\n");
    if (select.dataset.known !== known) {
      select.dataset.known = known;
      select.replaceChildren(
        ...runs().map((row) => {
          const option = make("option", "", row.title);
          option.value = row.id;
          return option;
        }),
      );
    }
    select.value = run() ? run().id : "";
    select.title = run() ? run().title : "";
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
    clearTimeout(vanishing);
    if (gone) vanishing = setTimeout(() => !run() && (word.textContent = "This run is no longer here."), GONE_MS);
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
      label.textContent = run() ? stepWord(index()) : "";
    }
    slider.setAttribute("aria-valuetext", label.textContent);
  }

  // Nothing chosen yet: the newest run that can write (or whose turn it is in Compare), at its end. Where there are not so
  // many, a run is compared with its own start.
  function begin() {
    const ready = rank === null ? runs().filter((one) => one.steps.length) : compare.lineup();
    const row = ready[Math.min(rank ?? 0, ready.length - 1)] || runs()[0];
    if (!row) return;
    const alone = (rank ?? 0) >= ready.length;
    choose(row.id, row.steps.length ? row.steps[alone ? 0 : row.steps.length - 1] : null);
  }

  // New rows move the selection only if it stood on the newest snapshot (or had none yet), or stands on one that is gone.
  function follow() {
    if (chosen().run === null) begin();
    const now = chosen();
    const row = run();
    if (row && row.steps.length) {
      const stood = now.step === null || now.step === newest;
      if (stood && now.step !== last()) choose(row.id, last());
      else if (!row.steps.includes(now.step)) choose(row.id, nearest(now.step));
    }
    newest = last();
    draw();
  }

  const nearest = (step) => steps().reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a));

  function settle(i) {
    clearTimeout(settling);
    label.textContent = stepWord(i);
    glance(run()?.id, steps()[i]);
    settling = setTimeout(() => {
      settling = 0;
      choose(run()?.id ?? null, steps()[i] ?? null);
    }, SETTLE_MS);
  }

  function pause() {
    if (!playing) return;
    clearInterval(playing);
    playing = 0;
    play.classList.remove("on");
    play.setAttribute("aria-label", "Play through training");
    glance(chosen().run, chosen().step);
  }

  function start() {
    play.classList.add("on");
    play.setAttribute("aria-label", "Pause");
    playing = setInterval(() => {
      if (index() >= steps().length - 1) return pause();
      choose(run().id, steps()[index() + 1]);
    }, FRAME_MS);
    choose(run().id, steps()[index() >= steps().length - 1 ? 0 : index() + 1]);
  }

  select.addEventListener("change", () => {
    pause();
    const row = runs().find((one) => one.id === select.value);
    choose(select.value, row && row.steps.length ? row.steps[row.steps.length - 1] : null);
    newest = last();
  });
  slider.addEventListener("input", () => {
    pause();
    settle(Number(slider.value));
  });
  play.addEventListener("click", () => (playing ? pause() : start()));

  watch("value", () => {
    newest = chosen().step === null ? null : last();
    glance(chosen().run, chosen().step);
    follow();
  });
  onRuns(follow);
  if (chosen().run) glance(chosen().run, chosen().step);
  follow();
}
