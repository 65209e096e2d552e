// @ts-check
// The page's address: what it asked for, and what it holds now.

import { catalogue, runOf, stepsOf } from "../services/runs.js";
import { selection } from "../services/selection.js";

const KEYS = ["tab", "run", "step", "layer", "head", "lens", "view", "prompt"];
const LONGEST = 1000; // characters of one value

export const askedPrompt = new URLSearchParams(location.search).get("prompt"); // what the page was opened with

// Keep values in the address; empty ones are left out. Until the server has read the address, it stays as it came.
let early = {};
export function remember(values) {
  if (!catalogue.state.received) {
    Object.assign(early, values);
    return;
  }
  const url = new URL(location.href);
  for (const [key, value] of Object.entries({ ...early, ...values })) {
    if (!KEYS.includes(key)) continue;
    if (value === null || value === undefined || value === "") url.searchParams.delete(key);
    else url.searchParams.set(key, String(value).slice(0, LONGEST));
  }
  early = {};
  history.replaceState(null, "", url);
}
catalogue.subscribe(() => Object.keys(early).length && remember({}));

/** The key with which others may look at the run in the address, where visitors do not know each other; else "". */
export const look = () => runOf(new URLSearchParams(location.search).get("run"))?.look || "";

/** The address to hand on. */
export function link() {
  const url = new URL(location.href);
  url.searchParams.delete("look");
  if (look()) url.searchParams.set("look", look());
  return url.href;
}

// The newest snapshot is left out of the address: who opens it again follows the run in training.
selection.subscribe(({ run, step, motion }) => {
  if (motion !== "drag") remember({ run, step: step === stepsOf(run).at(-1) ? null : step });
});

// A component's value, kept while its tab is open; the usual value is left out.
export function linked({ name, value, usual, tab, open }) {
  if (open === tab) remember({ [name]: value === usual ? "" : value });
}
