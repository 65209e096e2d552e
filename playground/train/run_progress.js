// @ts-check
// Shows the progress of a training run, with sample texts.
// `value`: {run, own, state, fraction, facts, samples: [{step, prompt, text}], stamp} or null. `run` is empty if no run
// is selected.

import { sentencesOf } from "../browser/constants.js";
import { make } from "../browser/dom.js";
import { fill, number } from "../browser/format.js";

export function mount({ element, props, watch }) {
  const find = (selector) => element.querySelector(selector);
  const view = element.closest(".train-view");
  const live = element.closest(".train-live");

  function drawBar(value) {
    const bar = find(".progress");
    bar.hidden = value.fraction === null;
    bar.setAttribute("aria-valuenow", Math.round(100 * (value.fraction ?? 0)));
    bar.dataset.state = value.state;
    find(".progress i").style.transform = `scaleX(${value.fraction ?? 0})`;
  }

  function strip({ step, prompt, text }) {
    const row = make("li");
    const writing = make("pre");
    writing.append(make("span", "prompt", prompt), text);
    row.append(make("span", "step", fill(sentencesOf("shell").STEP, { step: number(step) })), writing);
    return row;
  }

  // Redraws only when the samples change, so that the user's text selection is kept.
  let written = "";
  function drawStrips(samples) {
    const key = JSON.stringify(samples);
    if (key === written) return;
    written = key;
    find(".strips").replaceChildren(...samples.map(strip));
  }

  // Sets classes with which the style sheet shrinks the form while a run trains.
  function makeRoom({ own, state }) {
    view.dataset.run = state;
    view.classList.toggle("own", own);
    view.classList.toggle("trains", ["running", "queued", "stalled"].includes(state));
  }

  // Scrolls to a run that was started or selected, unless its numbers and chart are already visible.
  let shown = "";
  function lead(run) {
    const another = run && run !== shown;
    shown = run;
    const top = live.getBoundingClientRect().top;
    const hidden = top < parseFloat(getComputedStyle(live).scrollMarginTop) || top > window.innerHeight / 2;
    if (another && hidden) live.scrollIntoView({ block: "start" });
  }

  function draw() {
    const value = props.value;
    find(".run-progress").hidden = !value?.run;
    if (!value) return;
    makeRoom(value);
    lead(value.run);
    drawBar(value);
    find(".facts").textContent = value.facts;
    drawStrips(value.samples);
  }

  watch("value", draw);
  draw();
}
