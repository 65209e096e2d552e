// @ts-check
// Frames: finished answers, kept in the browser, so that a text follows the time bar without waiting.

const LENGTH = 400; // characters of a frame, as in playground/services/frames.py
const MOST = 200;
const NAMES = ["run", "step", "prompt", "kept", "temperature", "top_k", "max_length", "seed"];
const kept = new Map(); // by question, the least recently used first
const underWay = new Map();
const rounds = {}; // which list is being fetched for each text

export const key = (question) => JSON.stringify(NAMES.map((name) => question[name] ?? ""));
export const short = (question) => ({ ...question, max_length: Math.min(question.max_length, LENGTH) });

export function get(question) {
  const name = key(short(question));
  const found = kept.get(name);
  if (found && kept.delete(name)) kept.set(name, found);
  return found;
}

export function keep(value) {
  const name = key(value.question);
  if (name !== key(short(value.question))) return;
  kept.set(name, value);
  if (kept.size > MOST) kept.delete(kept.keys().next().value);
}

// A question that is on its way already is not asked twice.
export function fetched(question, fetch) {
  const name = key(question);
  if (!underWay.has(name)) {
    underWay.set(
      name,
      fetch(question)
        .catch(() => null)
        .finally(() => underWay.delete(name)),
    );
  }
  return underWay.get(name);
}

// One after the other, until another list is wanted. What cannot be had is left out: asking for it will say why.
export async function prefetch(place, questions, fetch) {
  const round = (rounds[place] = Symbol(place));
  for (const question of questions) {
    if (get(question)) continue;
    const value = await fetched(short(question), fetch);
    if (value?.question) keep(value);
    if (rounds[place] !== round) return;
  }
}
