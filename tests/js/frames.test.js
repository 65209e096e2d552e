import assert from "node:assert/strict";
import test from "node:test";

import { setConstants } from "../../playground/browser/constants.js";
import { createFrames, forFrame, putText, textFrame, textKey, textSize } from "../../playground/browser/frames.js";

setConstants({ frame_length: 400 });

const REQUEST = {
  run: "nano",
  step: 10,
  prompt: "The ",
  prefix: "",
  temperature: 0.8,
  top_k: 40,
  max_length: 1000,
  seed: 1,
};
const delayed = (value) => new Promise((done) => setTimeout(done, 1, value));

test("the least recently used frames are evicted beyond the budget", () => {
  const frames = createFrames(30);
  frames.put("a", "A", 10);
  frames.put("b", "B", 10);
  frames.put("c", "C", 10);
  assert.equal(frames.get("a"), "A"); // now b is the least recently used
  frames.put("d", "D", 10);
  assert.deepEqual(["a", "b", "c", "d"].map(frames.get), ["A", undefined, "C", "D"]);
});

test("a frame that is stored again counts once, and a frame above the budget is kept alone", () => {
  const frames = createFrames(30);
  for (let i = 0; i < 5; i++) frames.put("a", i, 10);
  frames.put("b", "B", 20);
  assert.equal(frames.get("a"), 4);
  frames.put("huge", "H", 100);
  assert.deepEqual(["a", "b", "huge"].map(frames.get), [undefined, undefined, "H"]);
});

test("prefetch fetches missing frames in order and skips refused ones", async () => {
  const frames = createFrames();
  const fetched = [];
  const request = (key) => ({
    key,
    fetch: async () => {
      fetched.push(key);
      if (key === "refused") throw new Error("unknown snapshot");
      return delayed(key.toUpperCase());
    },
  });
  frames.put("here", "HERE", 4);
  await frames.prefetch("sample", ["near", "here", "refused", "far"].map(request), (frame) => frame.length);
  assert.deepEqual(fetched, ["near", "refused", "far"]);
  assert.equal(frames.get("near"), "NEAR");
  assert.equal(frames.get("refused"), undefined);
  assert.equal(frames.get("far"), "FAR");
});

test("a pending request is not sent twice", async () => {
  const frames = createFrames();
  let sent = 0;
  const request = { key: "a", fetch: () => delayed(`answer ${++sent}`) };
  await Promise.all(["sample", "attention"].map((owner) => frames.prefetch(owner, [request], () => 1)));
  assert.equal(sent, 1);
  assert.equal(frames.get("a"), "answer 1");
});

test("arrival settles when the pending frame is cached or refused", async () => {
  const frames = createFrames();
  const refuse = async () => Promise.reject(new Error("unknown snapshot"));
  frames.prefetch("sample", [{ key: "near", fetch: () => delayed("NEAR") }], (frame) => frame.length);
  frames.prefetch("attention", [{ key: "refused", fetch: refuse }], (frame) => frame.length);
  assert.equal(frames.arrival("far"), undefined);
  await Promise.all(["near", "refused"].map(frames.arrival));
  assert.deepEqual(["near", "refused"].map(frames.get), ["NEAR", undefined]);
  assert.deepEqual(["near", "refused"].map(frames.arrival), [undefined, undefined]);
});

test("a new prefetch cancels the previous one of the same owner only", async () => {
  const frames = createFrames();
  const fetched = [];
  const request = (key) => ({ key, fetch: () => delayed(key).finally(() => fetched.push(key)) });
  const first = frames.prefetch("sample", ["a", "b", "c"].map(request), () => 1);
  const other = frames.prefetch("attention", ["x", "y"].map(request), () => 1);
  const second = frames.prefetch("sample", ["c"].map(request), () => 1);
  await Promise.all([first, other, second]);
  assert.deepEqual(fetched.sort(), ["a", "c", "x", "y"]);
  assert.equal(frames.get("a"), "a", "frames that have arrived are kept");
});

test("a text is found by its request, up to the length of a frame", () => {
  const frame = { request: forFrame(REQUEST), pieces: [{ text: "abc", scores: "0123456789" }] };
  assert.equal(textSize(frame), 13);
  putText(frame);
  assert.equal(textFrame(REQUEST), frame);
  assert.equal(textFrame({ ...REQUEST, max_length: 500 }), frame);
  for (const other of [{ step: 20 }, { prompt: "A " }, { seed: 2 }, { prefix: "x" }, { max_length: 100 }]) {
    assert.equal(textFrame({ ...REQUEST, ...other }), undefined);
  }
});

test("a complete long text is not a frame", () => {
  const request = { ...REQUEST, run: "long" };
  putText({ request: request, pieces: [] });
  assert.equal(textFrame(request), undefined);
  assert.notEqual(textKey(request), textKey(forFrame(request)));
});
