// @ts-check
// The list of runs, which the server sends to the hidden component #run-feed.

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
