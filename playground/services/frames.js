// Frames: finished answers, kept in the browser, so that a text follows the time bar without waiting.
window.nano.texts = {}; // every shaded text on the page, by its id
window.nano.unheard = {}; // the last selection of each followed text, for one that is put on the page later
window.nano.frames = (() => {
  const LENGTH = 400; // characters of a frame, as in playground/services/frames.py
  const MOST = 200;
  const NAMES = ["run", "step", "prompt", "kept", "temperature", "top_k", "max_length", "seed"];
  const kept = new Map(); // by question, the least recently used first
  const underWay = new Map();
  const rounds = {}; // which list is being fetched for each text

  const key = (question) => JSON.stringify(NAMES.map((name) => question[name] ?? ""));
  const short = (question) => ({ ...question, max_length: Math.min(question.max_length, LENGTH) });

  function get(question) {
    const name = key(short(question));
    const found = kept.get(name);
    if (found && kept.delete(name)) kept.set(name, found);
    return found;
  }

  function keep(value) {
    const name = key(value.question);
    if (name !== key(short(value.question))) return;
    kept.set(name, value);
    if (kept.size > MOST) kept.delete(kept.keys().next().value);
  }

  // A question that is on its way already is not asked twice.
  function fetched(question, fetch) {
    const name = key(question);
    if (!underWay.has(name)) {
      underWay.set(name, fetch(question).catch(() => null).finally(() => underWay.delete(name)));
    }
    return underWay.get(name);
  }

  // One after the other, until another list is wanted. What cannot be had is left out: asking for it will say why.
  async function prefetch(place, questions, fetch) {
    const round = (rounds[place] = Symbol(place));
    for (const question of questions) {
      if (get(question)) continue;
      const value = await fetched(short(question), fetch);
      if (value?.question) keep(value);
      if (rounds[place] !== round) return;
    }
  }

  return { key, short, get, keep, prefetch };
})();

// What Gradio's listeners call: the selection or a button, with the prompt and dials as they stand at the moment.
(() => {
  function say(what, place, chosen, [prompt, temperature, top_k, max_length, seed], active) {
    const detail = { what, place, chosen, active, typed: { prompt, temperature, top_k, max_length, seed } };
    window.nano.unheard[place] = detail;
    document.dispatchEvent(new CustomEvent("nano:question", { detail }));
  }
  window.nano.follow = (place, tab, chosen, open, ...dials) => say("follow", place, chosen, dials, tab === open);
  window.nano.glance = (place, run, step, passing = false) =>
    document.dispatchEvent(new CustomEvent("nano:question", { detail: { what: "glance", place, run, step, passing } }));
  window.nano.press = (place, chosen, ...dials) => say("press", place, chosen, dials, true);
})();
