// @ts-check
// A shaded text that answers requests: it follows the time bar from frame to frame, and goes back on choices.

import { forFrame, frames, keepText, textFrame, textKey, textSize } from "../../services/frames.js";
import { stepsOf } from "../../services/runs.js";
import { selection } from "../../services/selection.js";
import { nearestFirst } from "../../services/snapshots.js";
import { keep, kept } from "../../services/storage.js";
import { page } from "../../shell/page_state.js";
import { askedPrompt } from "../../shell/url.js";

const STORED = "sample"; // the last request of each run, in this browser
const MOST_RUNS = 50;
const REST_MS = 1200; // a frame is followed by its whole text after so long: ▶ moves on sooner

const same = (one, other) => Boolean(one && other) && textKey(one) === textKey(other);
const charactersOf = (value) => value.pieces.reduce((sum, piece) => sum + piece.text.length, 0);

/** @param {any[]} packed a list from Python: the head, then the pieces of the text */
export const unpackList = ([head, ...pieces]) => ({ ...head, pieces });

function stored() {
  try {
    return JSON.parse(kept(STORED)) || {};
  } catch {
    return {};
  }
}

function store(request) {
  const { [request.run]: _, ...others } = stored();
  const all = Object.entries({ ...others, [request.run]: request });
  keep(STORED, JSON.stringify(Object.fromEntries(all.slice(-MOST_RUNS))));
}

// The last request of each run comes back with it; on the first look only if the address asks for no other prompt.
function restored(run, first) {
  const known = stored()[run];
  return known && (!first || askedPrompt === null || askedPrompt === known.prompt) ? known : null;
}

/**
 * @param {{ place: string, tab: string, view: any, trigger: Function, server: any }} parts `view` is the shaded text:
 *   draw(value), length(), text(), shown() and forget()
 */
export function followSelection({ place, tab, view, trigger, server }) {
  let wanted = null; // the request whose answer is shown, or on its way
  let answer = null; // as far as it has come; null until it begins
  let past = []; // [request, answer] to go back to, the last choice last
  let resting = 0;
  let typed = false; // somebody has changed the prompt

  // Drops answers to earlier requests, and one that has yet to catch up with the frame on show.
  function receive(value) {
    if (value.question && !same(value.question, wanted)) return;
    const shown = view.shown();
    const onShow = value.question && same(shown?.question, forFrame(value.question)) && shown.stamp !== value.stamp;
    if (onShow && !value.finished && charactersOf(value) < view.length()) return;
    present(value);
  }

  // Only answered requests are stored: a refused one would be refused again.
  function present(value) {
    if (value.question && value.stamp !== answer?.stamp) store(wanted);
    answer = value;
    view.draw(value);
    if (!value.finished) return;
    keepText(value);
    fetchAhead();
  }

  function show(request, value) {
    [wanted, answer] = [request, null];
    present(value);
  }

  function sendRequest(request) {
    [wanted, answer] = [request, null];
    trigger("ask", request);
  }

  function want(request) {
    past = [];
    const frame = textFrame(request);
    if (!frame) return sendRequest(request);
    if (!answer?.finished) trigger("leave", {}); // ends the generation that is under way
    show(request, frame);
    if (document.getElementById("sample-call")?.offsetParent) trigger("cached", {});
    if (!same(request, frame.question)) completeLater(request);
  }

  // A frame holds the beginning of a long text.
  function completeLater(request) {
    clearTimeout(resting);
    resting = setTimeout(() => wanted === request && sendRequest(request), REST_MS);
  }

  function fetchAhead() {
    const steps = wanted ? [wanted.step, ...nearestFirst(stepsOf(wanted.run), wanted.step)] : [];
    const requests = steps.map((step) => {
      const request = forFrame({ ...wanted, step, kept: "" });
      return { key: textKey(request), fetch: () => server.frame(request).then(unpackList) };
    });
    frames.prefetch(place, requests, (frame) => (frame.question ? textSize(frame) : 0));
  }

  // Told once more about the same snapshot, the text stays: changed settings wait for Generate.
  const reached = () => wanted?.run === selection.state.run && wanted?.step === selection.state.step;

  // On a slow machine the first request is sent before the prompt of the address has arrived in its field.
  const atOpening = (form) =>
    wanted === null && askedPrompt !== null && !typed ? { ...form, prompt: askedPrompt } : form;

  function follow(form) {
    const { run, step } = selection.state;
    if (!run || reached()) return;
    const before = wanted?.run !== run ? restored(run, wanted === null) : null;
    const kept = (before?.step === step && before.kept) || "";
    const request = { ...(before || atOpening(form)), run, step, kept };
    if (before) trigger("settle", request);
    want(request);
  }

  // The same request is generated again, too.
  function generate(form) {
    const { run, step } = selection.state;
    past = [];
    view.forget();
    if (run) sendRequest({ ...form, run, step, kept: "" });
  }

  function choose(index, character) {
    const before = Array.from(view.text()).slice(0, index);
    const prompt = Array.from(wanted.prompt);
    past.push([wanted, answer]);
    const split = Math.min(index, prompt.length);
    const request = {
      ...wanted,
      prompt: before.slice(0, split).join(""),
      kept: before.slice(split).join("") + character,
    };
    if (index < prompt.length) trigger("settle", request);
    sendRequest(request);
  }

  // A text that was left while it was being generated is generated to its end.
  function back() {
    if (!past.length) return;
    const [request, before] = past.pop();
    trigger("leave", {});
    trigger("settle", request);
    if (before?.finished) show(request, before);
    else sendRequest(request);
  }

  // Shows the cached frame at once; where the request itself stands, its own answer.
  function showCached({ run, step }) {
    if (run !== wanted?.run) return;
    const frame = step === wanted.step ? answer : textFrame({ ...wanted, step, kept: "" });
    if (frame) view.draw(frame);
  }

  // The prompt and the sampling settings are asked for with the event `follow`, which brings them as they stand now.
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
  return { receive, choose, back, follow, generate, steps: () => past.length, request: () => wanted };
}
