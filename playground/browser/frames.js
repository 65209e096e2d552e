// @ts-check
// Caches frames (the data that a view displays for one snapshot) and prefetches them.
// Frames of nearby snapshots are prefetched, so that the time bar moves without waiting for the server.

import { constants } from "./constants.js";

/**
 * @typedef {{ key: string, fetch: () => Promise<any> }} FrameRequest
 */

const CAPACITY = 24_000_000; // characters of cached frames

/**
 * A least-recently-used cache with a budget of characters.
 * @param {number} [capacity]
 */
export function createFrames(capacity = CAPACITY) {
  const cached = new Map(); // key → { frame, size }, in LRU order: least recently used first
  const pending = new Map(); // key → promise of a frame
  const rounds = new Map(); // owner → its latest prefetch
  let total = 0;

  function remove(key) {
    total -= cached.get(key)?.size ?? 0;
    cached.delete(key);
  }

  /** @param {string} key */
  function get(key) {
    const found = cached.get(key);
    if (!found) return undefined;
    cached.delete(key);
    cached.set(key, found);
    return found.frame;
  }

  /**
   * @param {string} key
   * @param {any} frame
   * @param {number} size in characters
   */
  function put(key, frame, size) {
    remove(key);
    cached.set(key, { frame, size });
    total += size;
    while (total > capacity && cached.size > 1) remove(cached.keys().next().value);
  }

  function fetchOnce({ key, fetch }, sizeOf) {
    if (!pending.has(key)) {
      const fetched = fetch()
        .then((frame) => {
          const size = frame ? sizeOf(frame) : 0;
          if (size) put(key, frame, size);
        })
        .catch(() => {})
        .finally(() => pending.delete(key));
      pending.set(key, fetched);
    }
    return pending.get(key);
  }

  /**
   * Fetches missing frames one after the other, until the same owner starts another prefetch. Failed requests are
   * ignored here; requesting the frame directly reports the error.
   * @param {string} owner
   * @param {FrameRequest[]} requests in the order in which to fetch them
   * @param {(frame: any) => number} sizeOf size in characters; 0 for an answer that is not a frame
   */
  async function prefetch(owner, requests, sizeOf) {
    const round = Symbol(owner);
    rounds.set(owner, round);
    for (const request of requests) {
      if (cached.has(request.key)) continue;
      await fetchOnce(request, sizeOf);
      if (rounds.get(owner) !== round) return;
    }
  }

  /**
   * @param {string} key
   * @returns {Promise<void> | undefined} settles when the request succeeds or fails; undefined if not pending
   */
  const arrival = (key) => pending.get(key);

  return { get, put, prefetch, arrival };
}

export const frames = createFrames();

// Frames of generated text are keyed by their request.

const FIELDS = ["run", "step", "prompt", "prefix", "temperature", "top_k", "max_length", "seed"];

export const textKey = (request) => JSON.stringify(FIELDS.map((field) => request[field] ?? ""));

/** The request for a frame: the same request with its length limited to `frame_length`. */
export const forFrame = (request) => ({
  ...request,
  max_length: Math.min(request.max_length, constants.frame_length),
});

export const textFrame = (request) => frames.get(textKey(forFrame(request)));

export function putText(frame) {
  const key = textKey(frame.request);
  if (key === textKey(forFrame(frame.request))) frames.put(key, frame, textSize(frame));
}

export const textSize = (frame) =>
  (frame?.pieces ?? []).reduce((sum, piece) => sum + piece.text.length + piece.scores.length, 0);
