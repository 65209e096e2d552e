// @ts-check
// Scores the text again when the time bar moves, or later when the score becomes visible.
// The module is loaded when the user first opens the fold.

import { selection } from "../browser/selection.js";
import { page } from "../shell/page_state.js";

const SHOWN_MS = 100; // delay until an opened fold or tab is visible

export function scoreAgain() {
  setTimeout(() => {
    const letter = document.querySelector("#score-shown .letters span");
    if (letter?.offsetParent) document.getElementById("score-button").click();
  }, SHOWN_MS);
}

let scored = { run: null, step: null };
selection.subscribe(({ run, step, motion }) => {
  if (motion === "drag" || (run === scored.run && step === scored.step)) return;
  scored = { run, step };
  scoreAgain();
});
page.subscribe(scoreAgain, "tab");
