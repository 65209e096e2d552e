import assert from "node:assert/strict";
import test from "node:test";

import { constants, sentencesOf, setConstants } from "../../playground/browser/constants.js";
import { age, fill, finePercent, glyph, number, ordinal, percent, signed } from "../../playground/browser/format.js";
import { atShare, lineup, nearest, nearestFirst } from "../../playground/browser/runs.js";

const row = (id, { steps = [0, 10], shipped = false, state = "completed" } = {}) => ({ id, steps, shipped, state });
const ids = (rows) => lineup(rows).map(({ id }) => id);

test("the lineup has the pretrained models from small to large, then completed runs, then the others", () => {
  const shipped = ["medium", "small", "nano"].map((id) => row(id, { shipped: true }));
  const own = [row("new", { state: "running" }), row("done"), row("empty", { steps: [] }), row("old")];
  assert.deepEqual(ids([...own, ...shipped]), ["nano", "small", "medium", "done", "old", "new"]);
});

test("a single pretrained model comes last, and without snapshots there is no lineup", () => {
  assert.deepEqual(ids([row("mine"), row("nano", { shipped: true })]), ["mine", "nano"]);
  assert.deepEqual(ids([row("empty", { steps: [] })]), []);
  assert.deepEqual(ids([]), []);
});

test("the nearest snapshot is found by step and by share", () => {
  assert.equal(nearest([0, 10, 100], 40), 10);
  assert.equal(nearest([0, 10, 100], 1000), 100);
  assert.equal(nearest([0, 10], 5), 0, "ties go to the earlier snapshot");
  assert.equal(nearest([], 5), null);
  assert.equal(atShare([0, 10, 100], 0.5), 10);
  assert.equal(atShare([0, 10, 100], 1), 100);
  assert.equal(atShare([], 0.5), null);
});

test("nearestFirst orders the other snapshots by their distance in snapshots", () => {
  assert.deepEqual(nearestFirst([0, 1, 10, 100, 1000], 10), [1, 100, 0, 1000]);
  assert.deepEqual(nearestFirst([0, 1, 10], 0), [1, 10]);
  assert.deepEqual(nearestFirst([0], 0), []);
});

test("percentages are formatted", () => {
  assert.deepEqual([0, 0.004, 0.01, 0.754, 1].map(percent), ["0%", "<1%", "1%", "75%", "100%"]);
  assert.deepEqual([0, 0.0004, 0.0614, 0.0996, 0.5].map(finePercent), ["0%", "<0.1%", "6.1%", "10%", "50%"]);
});

test("ordinal numbers are formatted", () => {
  const expected = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "1,003rd"];
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1003].map(ordinal), expected);
});

test("numbers, changes, glyphs and ages are formatted", () => {
  assert.equal(number(119842), "119,842");
  assert.deepEqual([signed(0.0312), signed(-0.002), signed(1.5, 1)], ["+0.031", "−0.002", "+1.5"]);
  assert.deepEqual([" ", "\n", "\t", "a"].map(glyph), ["␣", "⏎", "⇥", "a"]);
  const services = {
    JUST_NOW: "just now",
    MINUTES: "{count} min ago",
    HOURS: "{count} h ago",
    DAYS: "{count} days ago",
  };
  setConstants({ sentences: { services } });
  assert.deepEqual([5, 300, 7200, 200_000].map(age), ["just now", "5 min ago", "2 h ago", "2 days ago"]);
});

test("placeholders are filled in, and unknown ones stay visible", () => {
  assert.equal(fill("{count} of {all}, {count}", { count: 3, all: "ten" }), "3 of ten, 3");
  assert.equal(fill("{missing}"), "{missing}");
  setConstants({ sentences: { shell: { GONE: "This run no longer exists." } } });
  assert.equal(sentencesOf("shell").GONE, constants.sentences.shell.GONE);
  assert.deepEqual(sentencesOf("unknown"), {});
});
