import assert from "node:assert/strict";
import test from "node:test";

import { entry, heat, shaped, unpack } from "../../playground/components/text_view/probabilities.js";

// Two characters, "b" with the candidates a and b, "a" with the candidate a: laid out as wire_format.pack_scores does.
function packed(wide) {
  const numbers = new Uint16Array([1024, 2048, 2, 1, 512, 1024, 0]); // bits, ranks, bits of the candidates
  const ids = wide ? new Uint16Array([0, 1, 0]) : new Uint8Array([0, 1, 0]);
  const counts = new Uint8Array([2, 1]);
  const bytes = [numbers, ids, counts].flatMap((array) => [...new Uint8Array(array.buffer)]);
  return { text: "ba", scores: btoa(String.fromCharCode(...bytes)) };
}

for (const wide of [false, true]) {
  test(`scores are unpacked with ids of ${wide ? "two bytes" : "one byte"}`, () => {
    const vocabulary = wide ? Array.from({ length: 300 }, (_, i) => (i < 2 ? "ab"[i] : "x")) : ["a", "b"];
    const piece = unpack(packed(wide), vocabulary);
    assert.deepEqual(entry(piece, 0, vocabulary), {
      character: "b",
      bits: 1,
      rank: 2,
      candidates: [
        { character: "a", bits: 0.5 },
        { character: "b", bits: 1 },
      ],
      vocabulary,
    });
    assert.deepEqual(entry(piece, 1, vocabulary).candidates, [{ character: "a", bits: 0 }]);
  });
}

const close = (found, expected) => assert.ok(Math.abs(found - expected) < 1e-9, `${found} is not ${expected}`);
const distribution = (probabilities, size = probabilities.length) => ({
  candidates: probabilities.map((p) => ({ bits: -Math.log2(p) })),
  vocabulary: Array(size).fill("x"),
});

test("temperature 1 without top-k changes nothing", () => {
  const { all, of } = shaped(distribution([0.5, 0.25, 0.25]), 1, 100);
  for (const [i, p] of [0.5, 0.25, 0.25].entries()) close(all[i], p);
  close(of(1, 1), 0.5);
});

test("temperature 0 is greedy", () => {
  const { all, of } = shaped(distribution([0.5, 0.3, 0.2]), 0, 40);
  assert.deepEqual(all, [1, 0, 0]);
  assert.equal(of(1, 1), 1);
  assert.equal(of(2, 2), 0);
});

test("top-k excludes less likely characters and renormalizes the others", () => {
  const { all, of } = shaped(distribution([0.5, 0.25, 0.25]), 1, 2);
  for (const [i, p] of [2 / 3, 1 / 3, 0].entries()) close(all[i], p);
  assert.equal(of(2, 3), 0);
});

test("low temperatures sharpen: probabilities to the power of 1/T, normalized", () => {
  const { all } = shaped(distribution([0.8, 0.2]), 0.5, 40);
  close(all[0], 0.64 / 0.68);
});

test("unlisted characters share the remaining probability equally", () => {
  const { all } = shaped(distribution([0.5, 0.3], 4), 2, 40);
  const weights = [0.5, 0.3, 0.1, 0.1].map(Math.sqrt);
  close(all[0], weights[0] / weights.reduce((a, b) => a + b));
});

test("shading grows with surprisal up to 8 bits", () => {
  assert.deepEqual([0, 4, 8, 20].map(heat), [0, 50, 100, 100]);
});
