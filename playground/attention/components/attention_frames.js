// @ts-check
// Attention follows the time bar: cached frames are shown at once, nearby ones are fetched ahead, and the server is
// asked for the rest once the selection rests.

import { frames } from "../../services/frames.js";
import { stepsOf } from "../../services/runs.js";
import { selection } from "../../services/selection.js";
import { nearestFirst } from "../../services/snapshots.js";
import { page } from "../../shell/page_state.js";
import { inspection, showFrame } from "../inspection_store.js";

const AHEAD = 600_000; // characters that are fetched ahead at a time

const held = inspection.state;
const keyOf = (run, step, text) => `attention ${run} ${step}\n${text}`;
const textOf = (frame) => frame.characters.join("");
const sizeOf = (frame) => frame?.weights?.length ?? 0;

/** @param {Pick<import("../../types.js").Component, "trigger" | "server">} component */
export function followSelection({ trigger, server }) {
  let chosen = page.state.openedWith; // where the time bar rested or played last
  let postponed = false; // ▶ passed, and not everything to be seen was asked for

  const cached = ({ run, step }) => frames.get(keyOf(run, step, textOf(held.frame)));

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
    frames.keep(keyOf(frame.run, frame.step, textOf(frame)), frame, sizeOf(frame));
    const { run, step } = selection.state;
    const late = Number.isInteger(step) && frame.run === run && frame.step !== step;
    if (!late) fetchAhead(frame);
    return !late;
  }

  function sendRequest() {
    postponed = false;
    trigger("ask", {});
  }

  const rankingUnderWay = () => Object.keys(held.effects?.of ?? {}).length < held.effects?.total;
  const onShow = ({ run, step }) => held.frame?.run === run && held.frame?.step === step;

  const selectedStill = ({ run, step }) => selection.state.run === run && selection.state.step === step;

  // A frame that is being fetched is shown when it arrives, if its snapshot is still selected.
  // While ▶ passes frames that are cached, only what is not in them is asked for.
  function move() {
    const { run, step, motion } = selection.state;
    if (page.state.tab !== "attention") return;
    const frame = held.frame && cached({ run, step });
    if (frame && !onShow({ run, step })) showFrame(frame);
    const arrival = held.frame && !frame && frames.arrival(keyOf(run, step, textOf(held.frame)));
    if (arrival) arrival.then(() => selectedStill({ run, step }) && move());
    if (motion === "drag" || (arrival && motion === "play")) return;
    if (frame && motion === "play") fetchAhead(frame);
    const moved = run !== chosen.run || step !== chosen.step;
    chosen = { run, step };
    if (!moved) return void (postponed && motion === "rest" && sendRequest());
    postponed = motion === "play" && !rankingUnderWay() && onShow(chosen);
    const { lens, whole } = document.body.dataset;
    if (!postponed) sendRequest();
    else if (lens && lens !== "looks") trigger("turn", {});
    if (whole) trigger("whole", {});
  }

  // What is found out later about the heads on show belongs to their frame.
  function complete() {
    const frame = held.frame && cached(held.frame);
    for (const what of ["effects", "names"]) if (frame && held[what]?.stamp === frame.stamp) frame[what] = held[what];
  }

  inspection.subscribe(complete, "effects", "names");
  selection.subscribe(move);
  page.subscribe(() => (chosen = page.state.openedWith), "tab"); // opening the tab asks for everything
  return { receive, move };
}
