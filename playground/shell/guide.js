// @ts-check
// One line of guidance at a time. A step is done when somebody does it, wherever the thought came from.

import { headLabel, inspection } from "../attention/inspection_store.js";
import { textEvents } from "../components/text_view/texts.js";
import { onRuns, runs } from "../services/runs.js";
import { keep, kept } from "../services/storage.js";

export function mount({ element }) {
  const box = element.querySelector(".guide");
  const words = box.querySelector("p");
  const STEPS = [
    { id: "watch", tabs: ["sample"], done: ".time-bar .play", say: watchSentence },
    {
      id: "choose",
      tabs: ["sample"],
      done: "#sample-text .letters span",
      say: () => "Click any letter to see what else it considered. Choose another.",
    },
    { id: "train", tabs: ["sample", "train"], done: "#train-start", say: yours },
    {
      id: "head",
      tabs: ["attention"],
      done: ".switches .part",
      say: () => `Head ${headLabel(inspection.state.head)} looks here. Switch it off: does it matter?`,
    },
    { id: "guess", tabs: ["compare"], done: "#compare-write", say: guess },
  ];

  function watchSentence() {
    const start = document.querySelector("#time-bar output")?.textContent.startsWith("step 0");
    return start
      ? "Step 0: this model has learned nothing. Press ▶."
      : "Press ▶ above: watch this model learn, from knowing nothing.";
  }

  // Only a time that was measured on this machine is printed.
  function yours() {
    const time = /about [^·]+?(?= here)/.exec(document.querySelector("#train-preset label")?.textContent || "");
    const how = document.body.dataset.tab === "train" ? "start a training" : "open Train";
    return `Now yours${time ? `, in ${time[0]}` : ""}: ${how}.`;
  }

  function guess() {
    const sizes = runs().filter((row) => row.shipped && row.steps.length).length;
    return `Same prompt, ${sizes === 3 ? "three sizes" : "several models"}: write all, and guess the largest.`;
  }

  let done = new Set();
  try {
    done = new Set(JSON.parse(kept("guide") || "[]"));
  } catch {
    // an odd entry: begin anew
  }

  function finish(...ids) {
    for (const id of ids) done.add(id);
    keep("guide", JSON.stringify([...done]));
    draw();
  }

  function draw() {
    const tab = document.body.dataset.tab;
    const some = document.body.dataset.runs === "some";
    const step = STEPS.find((one) => one.tabs.includes(tab) && !done.has(one.id));
    box.hidden = !step || (!some && step.id !== "train");
    const said = step ? step.say() : "";
    if (!box.hidden && words.textContent !== said) words.textContent = said;
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
  onRuns(draw);
  draw();
}
