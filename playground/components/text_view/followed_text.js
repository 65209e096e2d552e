// @ts-check
// Requests generated text for a shaded text: it follows the time bar and can undo the user's choices of characters.

import { forFrame, frames, putText, textFrame, textKey, textSize } from "../../browser/frames.js";
import { nearestFirst, stepsOf } from "../../browser/runs.js";
import { selection } from "../../browser/selection.js";
import { load, save } from "../../browser/storage.js";
import { page } from "../../shell/page_state.js";
import { initialPrompt } from "../../shell/url.js";

const STORED = "sample"; // storage key for the last request of each run in this browser
const MOST_RUNS = 50;
const REST_MS = 1200; // delay before requesting the text beyond a cached frame; longer than the interval of ▶

const same = (one, other) => Boolean(one && other) && textKey(one) === textKey(other);
const charactersOf = (value) => value.pieces.reduce((sum, piece) => sum + piece.text.length, 0);

/** @param {any[]} packed a list from Python: the head, then the pieces of the text */
export const unpackList = ([head, ...pieces]) => ({ ...head, pieces });

function stored() {
  try {
    return JSON.parse(load(STORED)) || {};
  } catch {
    return {};
  }
}

function store(request) {
  const { [request.run]: _, ...others } = stored();
  const all = Object.entries({ ...others, [request.run]: request });
  save(STORED, JSON.stringify(Object.fromEntries(all.slice(-MOST_RUNS))));
}

// Returns the stored request of a run. On page load, a different prompt in the address takes precedence.
function restored(run, first) {
  const known = stored()[run];
  return known && (!first || initialPrompt === null || initialPrompt === known.prompt) ? known : null;
}

/**
 * @param {{ place: string, tab: string, view: any, trigger: Function, server: any }} parts `view` is the shaded text:
 *   draw(value), length(), text(), shown() and forget()
 */
export function followSelection({ place, tab, view, trigger, server }) {
  let current = null; // the request whose answer is displayed or pending
  let answer = null; // the answer received so far; null before it starts
  let history = []; // undo stack of [request, answer]
  let resting = 0;
  let typed = false; // whether the user has edited the prompt

  // Ignores answers to earlier requests, and an answer that is still shorter than the displayed frame.
  function receive(value) {
    if (value.request && !same(value.request, current)) return;
    const shown = view.shown();
    const onShow = value.request && same(shown?.request, forFrame(value.request)) && shown.stamp !== value.stamp;
    if (onShow && !value.finished && charactersOf(value) < view.length()) return;
    present(value);
  }

  // Stores only answered requests, because a refused request would be refused again.
  function present(value) {
    if (value.request && value.stamp !== answer?.stamp) store(current);
    answer = value;
    view.draw(value);
    if (!value.finished) return;
    putText(value);
    fetchAhead();
  }

  function show(request, value) {
    [current, answer] = [request, null];
    present(value);
  }

  function sendRequest(request) {
    [current, answer] = [request, null];
    trigger("generate", request);
  }

  function showOrSend(request) {
    history = [];
    const frame = textFrame(request);
    if (!frame) return sendRequest(request);
    if (!answer?.finished) trigger("cancel", {});
    show(request, frame);
    if (document.getElementById("sample-call")?.offsetParent) trigger("cached", {});
    if (!same(request, frame.request)) completeLater(request);
  }

  // A frame holds only the beginning of a long text: request the rest if the request stays current.
  function completeLater(request) {
    clearTimeout(resting);
    resting = setTimeout(() => current === request && sendRequest(request), REST_MS);
  }

  function fetchAhead() {
    const steps = current ? [current.step, ...nearestFirst(stepsOf(current.run), current.step)] : [];
    const requests = steps.map((step) => {
      const request = forFrame({ ...current, step, prefix: "" });
      return { key: textKey(request), fetch: () => server.frame(request).then(unpackList) };
    });
    frames.prefetch(place, requests, (frame) => (frame.request ? textSize(frame) : 0));
  }

  // The text is not replaced for the same snapshot: changed settings take effect with Generate.
  const reached = () => current?.run === selection.state.run && current?.step === selection.state.step;

  // On slow machines the first request may be sent before Gradio has filled the prompt field from the address.
  const atOpening = (form) =>
    current === null && initialPrompt !== null && !typed ? { ...form, prompt: initialPrompt } : form;

  function follow(form) {
    const { run, step } = selection.state;
    if (!run || reached()) return;
    const before = current?.run !== run ? restored(run, current === null) : null;
    const prefix = (before?.step === step && before.prefix) || "";
    const request = { ...(before || atOpening(form)), run, step, prefix };
    if (before) trigger("restore", request);
    showOrSend(request);
  }

  // Always generates, also if the request has not changed.
  function generate(form) {
    const { run, step } = selection.state;
    history = [];
    view.forget();
    if (run) sendRequest({ ...form, run, step, prefix: "" });
  }

  function choose(index, character) {
    const before = Array.from(view.text()).slice(0, index);
    const prompt = Array.from(current.prompt);
    history.push([current, answer]);
    const split = Math.min(index, prompt.length);
    const request = {
      ...current,
      prompt: before.slice(0, split).join(""),
      prefix: before.slice(split).join("") + character,
    };
    if (index < prompt.length) trigger("restore", request);
    sendRequest(request);
  }

  // Undoes the last choice. A text whose generation was canceled is generated again in full.
  function back() {
    if (!history.length) return;
    const [request, before] = history.pop();
    trigger("cancel", {});
    trigger("restore", request);
    if (before?.finished) show(request, before);
    else sendRequest(request);
  }

  // Shows the cached frame of a snapshot immediately; for the request's own snapshot, shows its full answer.
  function showCached({ run, step }) {
    if (run !== current?.run) return;
    const frame = step === current.step ? answer : textFrame({ ...current, step, prefix: "" });
    if (frame) view.draw(frame);
  }

  // The event `follow` makes Python return the current prompt and sampling settings.
  function move() {
    const { run, motion } = selection.state;
    showCached(selection.state);
    if (motion !== "drag" && run && page.state.tab === tab && !reached()) trigger("follow", {});
  }

  document.addEventListener("input", ({ target }) => {
    typed ||= Boolean(/** @type {Element} */ (target).closest(`#${tab}-prompt`));
  });
  selection.subscribe(move);
  page.subscribe(move, "tab");
  move();
  return { receive, choose, back, follow, generate, steps: () => history.length, request: () => current };
}
