// One line of guidance at a time. A step is done when somebody does it, wherever the thought came from.
const box = element.querySelector(".guide");
const words = box.querySelector("p");
const KEPT = "nano-guide";
const STEPS = [
  { id: "watch", tabs: ["sample"], done: ".time-bar .play", say: () => "Press ▶ above: watch this model learn, from knowing nothing." },
  { id: "choose", tabs: ["sample"], done: "#sample-text .text *", say: () => "Click any letter to see what else it considered. Choose another." },
  { id: "train", tabs: ["sample", "train"], done: "#train-start", say: yours },
  { id: "head", tabs: ["attention"], done: ".lens-matters input, .lens-matters button", say: () => "Switch one of these heads off: does it matter?" },
  { id: "guess", tabs: ["compare"], done: "#compare-write", say: () => "Same prompt, several models. Write all, and guess the largest." },
];

// Only a time that was measured on this machine is printed.
function yours() {
  const time = /about [^·]+? here/.exec(document.querySelector("#train-preset label")?.textContent || "");
  const where = document.body.dataset.tab === "train" ? "Now yours" : "Now yours, in Train";
  return `${where}: press Start training${time ? `, ${time[0]}` : ""}.`;
}

let done = new Set();
try {
  done = new Set(JSON.parse(localStorage.getItem(KEPT) || "[]"));
} catch {
  // an odd entry: begin anew
}

function finish(...ids) {
  ids.forEach((id) => done.add(id));
  localStorage.setItem(KEPT, JSON.stringify([...done]));
  draw();
}

function draw() {
  const tab = document.body.dataset.tab;
  const some = document.body.dataset.runs === "some";
  const step = STEPS.find((one) => one.tabs.includes(tab) && !done.has(one.id));
  box.hidden = !step || (!some && step.id !== "train");
  if (!box.hidden) words.textContent = step.say();
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  for (const step of STEPS) if (!done.has(step.id) && target?.closest(step.done)) finish(step.id);
});
box.querySelector("button").addEventListener("click", () => finish(...STEPS.map((step) => step.id)));
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["data-tab", "data-runs"] });
draw();
