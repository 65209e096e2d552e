// @ts-check
// The list of runs, which the server sends to the hidden component #run-feed, and how their snapshots are found.

import { constants } from "./constants.js";
import { createStore } from "./store.js";

export const catalogue = createStore({ rows: [], received: false });

export const runs = () => catalogue.state.rows;
export const onRuns = (listener) => catalogue.subscribe(listener);
export const runOf = (id) => runs().find((row) => row.id === id);
export const stepsOf = (id) => runOf(id)?.steps ?? [];

/** Icon and word for a run's state (color alone is not accessible). @type {(run: { state: string }) => [string, string]} */
export function state(run) {
  const { icon, word } = constants.run_states[run.state] ?? { icon: "·", word: String(run.state) };
  return [icon, word];
}

export function publish(rows) {
  document.body.dataset.runs = rows.length ? "some" : "none";
  catalogue.set({ rows, received: true });
}

// `value`: all rows, or {changed: rows that differ from the previous value}; null until the server has answered.
export function mount({ props, watch }) {
  const receive = () => {
    const { value } = props;
    if (!value) return;
    const changed = new Map((value.changed || []).map((row) => [row.id, row]));
    publish(value.changed ? runs().map((row) => changed.get(row.id) || row) : value);
  };
  watch("value", receive);
  receive();
}

/**
 * Returns the runs that have snapshots, in the order of Compare's columns: with several pretrained models, those first,
 * from small to large; otherwise the user's runs first. Finished runs precede unfinished ones, newest first.
 * @param {import("../types.js").RunRow[]} rows of the catalogue, newest first
 */
export function lineup(rows) {
  const ready = rows.filter((row) => row.steps.length);
  const shipped = ready.filter((row) => row.shipped).reverse(); // the catalogue lists them from large to small
  const own = ready.filter((row) => !row.shipped);
  const finished = (row) => row.state === "completed";
  const newest = [...own.filter(finished), ...own.filter((row) => !finished(row))];
  return shipped.length > 1 ? [...shipped, ...newest] : [...newest, ...shipped];
}

/** @type {(steps: number[], step: number) => number | null} The step nearest to a given one; null without steps. */
export const nearest = (steps, step) =>
  steps.length ? steps.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best)) : null;

/** @type {(steps: number[], share: number) => number | null} The step nearest to a fraction of the training. */
export const atShare = (steps, share) => nearest(steps, share * steps.at(-1));

/** @type {(steps: number[], step: number) => number[]} The other steps, sorted by how many snapshots away they are. */
export function nearestFirst(steps, step) {
  const here = steps.indexOf(step);
  const distance = (other) => Math.abs(steps.indexOf(other) - here);
  return steps.filter((other) => other !== step).sort((a, b) => distance(a) - distance(b));
}
