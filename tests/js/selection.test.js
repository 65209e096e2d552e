import assert from "node:assert/strict";
import test from "node:test";

import { selection } from "../../playground/browser/selection.js";
import { createStore } from "../../playground/browser/store.js";

test("subscribers are notified of their fields in the order of subscription", () => {
  const store = createStore({ run: null, step: null });
  const calls = [];
  store.subscribe(({ run }) => calls.push(`first ${run}`), "run");
  store.subscribe(({ step }) => calls.push(`second ${step}`), "step");
  store.subscribe(() => calls.push("third"));
  store.set({ run: "a" });
  store.set({ step: 10 });
  assert.deepEqual(calls, ["first a", "third", "second 10", "third"]);
});

test("a subscriber receives the new state until it unsubscribes", () => {
  const store = createStore({ step: 0 });
  const steps = [];
  const end = store.subscribe(({ step }) => steps.push(step));
  store.set({ step: 1 });
  end();
  store.set({ step: 2 });
  assert.deepEqual(steps, [1]);
  assert.equal(store.state.step, 2);
});

test("a subscriber may subscribe others while it is called", () => {
  const store = createStore({ step: 0 });
  let calls = 0;
  store.subscribe(() => store.subscribe(() => calls++));
  store.set({ step: 1 });
  assert.equal(calls, 0);
  store.set({ step: 2 });
  assert.equal(calls, 1);
});

test("every tab follows the same selection, also while ▶ plays and the slider is dragged", () => {
  const seen = { sample: [], attention: [] };
  for (const tab of ["sample", "attention"]) {
    selection.subscribe(({ run, step, motion }) => seen[tab].push(`${run} ${step} ${motion}`));
  }
  for (const motion of ["drag", "play", "rest"]) selection.set({ run: "nano", step: 10, motion });
  assert.deepEqual(seen.sample, ["nano 10 drag", "nano 10 play", "nano 10 rest"]);
  assert.deepEqual(seen.attention, seen.sample);
});
