// @ts-check
// Updates the Attention tab when the time bar moves, from cached frames where possible.
// Nearby frames are prefetched. Everything else is requested from the server once the time bar stops.

import { frames } from "../../browser/frames.js";
import { nearestFirst, stepsOf } from "../../browser/runs.js";
import { selection } from "../../browser/selection.js";
import { page } from "../../shell/page_state.js";
import { inspection, showFrame } from "../inspection_store.js";

const AHEAD = 600_000; // characters per prefetch

const state = inspection.state;
const keyOf = (run, step, text) => `attention ${run} ${step}\n${text}`;
const textOf = (frame) => frame.characters.join("");
const sizeOf = (frame) => frame?.weights?.length ?? 0;

/** @param {Pick<import("../../types.js").Component, "trigger" | "server">} component */
export function followSelection({ trigger, server }) {
  let chosen = page.state.openedWith; // the last snapshot at which the time bar stopped or played
  let postponed = false; // whether playback skipped the full request for the displayed snapshot

  const cached = ({ run, step }) => frames.get(keyOf(run, step, textOf(state.frame)));

  function fetchAhead({ run, step, weights, ...frame }) {
    const text = textOf(frame);
    const most = Math.max(2, Math.floor(AHEAD / weights.length));
    const requests = nearestFirst(stepsOf(run), step)
      .slice(0, most)
      .map((other) => ({ key: keyOf(run, other, text), fetch: () => server.frame({ run, step: other, text }) }));
    frames.prefetch("attention", requests, sizeOf);
  }

  /** Caches a frame from the server and fetches its neighbours. @returns {boolean} whether it is still selected */
  function receive(frame) {
    frames.put(keyOf(frame.run, frame.step, textOf(frame)), frame, sizeOf(frame));
    const { run, step } = selection.state;
    const late = Number.isInteger(step) && frame.run === run && frame.step !== step;
    if (!late) fetchAhead(frame);
    return !late;
  }

  function sendRequest() {
    postponed = false;
    trigger("request_frame", {});
  }

  const rankingUnderWay = () => Object.keys(state.effects?.of ?? {}).length < state.effects?.total;
  const onShow = ({ run, step }) => state.frame?.run === run && state.frame?.step === step;

  const selectedStill = ({ run, step }) => selection.state.run === run && selection.state.step === step;

  // A pending frame is shown when it arrives, if its snapshot is still selected.
  // During playback over cached frames, only the data that frames do not contain is requested.
  function move() {
    const { run, step, motion } = selection.state;
    if (page.state.tab !== "attention") return;
    const frame = state.frame && cached({ run, step });
    if (frame && !onShow({ run, step })) showFrame(frame);
    const arrival = state.frame && !frame && frames.arrival(keyOf(run, step, textOf(state.frame)));
    if (arrival) arrival.then(() => selectedStill({ run, step }) && move());
    if (motion === "drag" || (arrival && motion === "play")) return;
    if (frame && motion === "play") fetchAhead(frame);
    const moved = run !== chosen.run || step !== chosen.step;
    chosen = { run, step };
    if (!moved) return void (postponed && motion === "rest" && sendRequest());
    postponed = motion === "play" && !rankingUnderWay() && onShow(chosen);
    const { lens, whole } = document.body.dataset;
    if (!postponed) sendRequest();
    else if (lens && lens !== "looks") trigger("request_view", {});
    if (whole) trigger("request_overview", {});
  }

  // Adds head effects and names that arrive later to the cached frame.
  function complete() {
    const frame = state.frame && cached(state.frame);
    for (const what of ["effects", "names"]) if (frame && state[what]?.stamp === frame.stamp) frame[what] = state[what];
  }

  inspection.subscribe(complete, "effects", "names");
  selection.subscribe(move);
  page.subscribe(() => (chosen = page.state.openedWith), "tab"); // opening the tab requests everything
  return { receive, move };
}
