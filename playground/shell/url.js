// @ts-check
// Reads and updates the page's address (its query parameters).

import { catalogue, runOf, stepsOf } from "../browser/runs.js";
import { selection } from "../browser/selection.js";

const KEYS = ["tab", "run", "step", "layer", "head", "lens", "view", "prompt"];
const LONGEST = 1000; // maximum characters per value

export const initialPrompt = new URLSearchParams(location.search).get("prompt"); // from the address on page load

// Writes values into the address and removes empty ones. Writes are delayed until the server has read the address.
let delayed = {};
export function remember(values) {
  if (!catalogue.state.received) {
    Object.assign(delayed, values);
    return;
  }
  const url = new URL(location.href);
  for (const [key, value] of Object.entries({ ...delayed, ...values })) {
    if (!KEYS.includes(key)) continue;
    if (value === null || value === undefined || value === "") url.searchParams.delete(key);
    else url.searchParams.set(key, String(value).slice(0, LONGEST));
  }
  delayed = {};
  history.replaceState(null, "", url);
}
catalogue.subscribe(() => Object.keys(delayed).length && remember({}));

/** The key that allows others to view the run in the address; "" if the page is not public. */
export const look = () => runOf(new URLSearchParams(location.search).get("run"))?.look || "";

/** The address to share. */
export function link() {
  const url = new URL(location.href);
  url.searchParams.delete("look");
  if (look()) url.searchParams.set("look", look());
  return url.href;
}

// The newest snapshot is omitted from the address, so that an opened link follows a run in training.
selection.subscribe(({ run, step, motion }) => {
  if (motion !== "drag") remember({ run, step: step === stepsOf(run).at(-1) ? null : step });
});

// Stores a component's value in the address while its tab is open; the default value is omitted.
export function linked({ name, value, usual, tab, open }) {
  if (open === tab) remember({ [name]: value === usual ? "" : value });
}
