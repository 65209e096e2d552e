// A shaded text that answers questions: it follows the time bar from frame to frame, and goes back on choices.
const { frames } = window.nano;
const KEPT = "nano-sample"; // the last question of each run, in this browser
const MOST_RUNS = 50;

let wanted = null; // the question whose answer is shown, or on its way
let answer = null; // as far as it has come; null until it begins
let past = []; // [question, answer] to go back to, the last choice last

const same = (one, other) => one && other && frames.key(one) === frames.key(other);

// Answers to what is not asked any more are passed over; so is one that has yet to catch up with the frame on show.
take = () => {
  const value = opened(props.value || [{ note: EMPTY }]);
  if (value.question && !same(value.question, wanted)) return;
  const onShow = value.question && same(shown?.question, frames.short(value.question)) && shown.stamp !== value.stamp;
  if (onShow && !value.finished && characters(value) < length()) return;
  present(value);
};

const characters = (value) => value.pieces.reduce((sum, piece) => sum + piece.text.length, 0);

// What was answered is remembered: a question that was refused would only be refused again.
function present(value) {
  if (value.question && value.stamp !== answer?.stamp) remember(wanted);
  answer = value;
  draw(value);
  if (!value.finished) return;
  frames.keep(value);
  ahead();
}

function show(question, value) {
  [wanted, answer] = [question, null];
  present(value);
}

function ask(question) {
  [wanted, answer] = [question, null];
  trigger("ask", question);
}

function want(question) {
  past = [];
  const frame = frames.get(question);
  if (!frame) return ask(question);
  trigger("leave", {}); // nobody waits for what is under way
  show(question, frame);
  if (!same(question, frame.question)) later(question);
}

// A frame holds the beginning of a long text. Who rests on it gets it all: for longer than ▶ does.
let resting = 0;
const REST_MS = 1200;
function later(question) {
  clearTimeout(resting);
  resting = setTimeout(() => wanted === question && ask(question), REST_MS);
}

// The same question at the run's other snapshots, the nearest first, so that moving the time bar never waits.
function ahead() {
  const steps = window.nano.runs().find((row) => row.id === wanted?.run)?.steps || [];
  const here = steps.indexOf(wanted?.step);
  const near = steps.map((_, i) => i).sort((a, b) => Math.abs(a - here) - Math.abs(b - here));
  const question = (i) => ({ ...wanted, step: steps[i], kept: "" });
  frames.prefetch(place, near.map(question), (asked) => server.frame(asked).then(opened));
}

function follow({ chosen, active, typed }) {
  if (!active || !chosen?.run) return;
  const another = wanted?.run !== chosen.run;
  if (!another && wanted.step === chosen.step) return; // told once more, maybe late: dials wait for Write
  const before = another ? recall(chosen.run, wanted === null) : null;
  const kept = (before?.step === chosen.step && before.kept) || "";
  const question = { ...(before || typed), run: chosen.run, step: chosen.step, kept };
  if (before) trigger("settle", question);
  want(question);
}

// Write was pressed: the same question is written again, too.
function press({ chosen, typed }) {
  past = [];
  shown = null;
  if (chosen?.run) ask({ ...typed, run: chosen.run, step: chosen.step, kept: "" });
}

function choose(index, character) {
  const before = Array.from(text()).slice(0, index);
  const prompt = Array.from(wanted.prompt);
  past.push([wanted, answer]);
  const split = Math.min(index, prompt.length);
  const question = {
    ...wanted, prompt: before.slice(0, split).join(""), kept: before.slice(split).join("") + character,
  };
  if (index < prompt.length) trigger("settle", question);
  ask(question);
}

// A text that was left while it was being written is written to its end.
function back() {
  if (!past.length) return;
  const [question, before] = past.pop();
  trigger("leave", {});
  trigger("settle", question);
  if (before?.finished) show(question, before);
  else ask(question);
}

// The time bar is being dragged: what is there is shown at once. Where it came from stands what stood there.
function glance({ run, step }) {
  if (run !== wanted?.run) return;
  const frame = step === wanted.step ? answer : frames.get({ ...wanted, step, kept: "" });
  if (frame) draw(frame);
}

// The last question of each run comes back with it; on a first look, only if the address asks for nothing else.
function recall(run, first) {
  const known = stored()[run];
  const { asked } = window.nano;
  return known && (!first || asked === null || asked === known.prompt) ? known : null;
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) || {};
  } catch {
    return {};
  }
}

function remember(question) {
  const { [question.run]: _, ...others } = stored();
  const all = Object.entries({ ...others, [question.run]: question });
  try {
    localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(all.slice(-MOST_RUNS))));
  } catch {
    // a full or forbidden store: the page works without
  }
}

Object.assign(window.nano.texts[place], { choose, back, steps: () => past.length, question: () => wanted });
const listeners = { follow, press, glance };
document.addEventListener("nano:question", ({ detail }) => detail.place === place && listeners[detail.what](detail));
if (window.nano.unheard[place]) follow(window.nano.unheard[place]);
