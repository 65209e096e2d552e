// @ts-check
// Shows one step of the guided tour at a time.
// A step is completed when the user performs it, whether or not its line was visible.

import { headLabel, inspection } from "../attention/inspection_store.js";
import { sentencesOf } from "../browser/constants.js";
import { fill } from "../browser/format.js";
import { onRuns, runs } from "../browser/runs.js";
import { selection } from "../browser/selection.js";
import { load, save } from "../browser/storage.js";
import { textEvents } from "../components/text_view/texts.js";

const SENTENCES = sentencesOf("shell");
const TIME_OF_PRESET = new RegExp(fill(sentencesOf("train").CARD_TIME ?? "", { time: "([^·]+?)" }));

export function mount({ element }) {
  const box = element.querySelector(".guide");
  const words = box.querySelector("p");
  const STEPS = [
    { id: "watch", tabs: ["sample"], done: ".time-bar .play", sentence: watchSentence },
    {
      id: "choose",
      tabs: ["sample"],
      done: "#sample-text .letters span",
      sentence: () => SENTENCES.GUIDE_CHOOSE,
    },
    { id: "train", tabs: ["sample", "train"], done: "#train-start", sentence: trainSentence },
    {
      id: "head",
      tabs: ["attention"],
      done: ".switches .part",
      sentence: () => fill(SENTENCES.GUIDE_HEAD, { head: headLabel(inspection.state.head) }),
    },
    { id: "guess", tabs: ["compare"], done: "#compare-write", sentence: guessSentence },
  ];

  function watchSentence() {
    return selection.state.step === 0 ? SENTENCES.GUIDE_UNTRAINED : SENTENCES.GUIDE_WATCH;
  }

  // Includes the training time only if it was measured on this machine.
  function trainSentence() {
    const [, time] = TIME_OF_PRESET.exec(document.querySelector("#train-preset label")?.textContent ?? "") ?? [];
    const name = document.body.dataset.tab === "train" ? "GUIDE_START_TRAINING" : "GUIDE_OPEN_TRAIN";
    return time ? fill(SENTENCES[`${name}_IN`], { time }) : SENTENCES[name];
  }

  function guessSentence() {
    const sizes = runs().filter((row) => row.shipped && row.steps.length).length;
    return sizes === 3 ? SENTENCES.GUIDE_GUESS_SIZE : SENTENCES.GUIDE_GUESS_MODEL;
  }

  let done = new Set();
  try {
    done = new Set(JSON.parse(load("guide") || "[]"));
  } catch {
    // invalid JSON: start from the beginning
  }

  function finish(...ids) {
    for (const id of ids) done.add(id);
    save("guide", JSON.stringify([...done]));
    draw();
  }

  function draw() {
    const tab = document.body.dataset.tab;
    const some = document.body.dataset.runs === "some";
    const step = STEPS.find((one) => one.tabs.includes(tab) && !done.has(one.id));
    box.hidden = !step || (!some && step.id !== "train");
    const text = step ? step.sentence() : "";
    if (!box.hidden && words.textContent !== text) words.textContent = text;
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    for (const step of STEPS) if (!done.has(step.id) && target?.closest(step.done)) finish(step.id);
  });
  textEvents.subscribe(({ looked }) => {
    if (looked.entry && looked.place === "sample-text" && !done.has("choose")) finish("choose");
  }, "looked");
  box.querySelector("button").addEventListener("click", () => finish(...STEPS.map((step) => step.id)));
  new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["data-tab", "data-runs"] });
  inspection.subscribe(draw, "head");
  selection.subscribe(draw, "step");
  onRuns(draw);
  draw();
}
