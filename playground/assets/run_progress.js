// value: {state, fraction, facts, samples: [{step, prompt, text}], stamp} of one run, or null.
const { element: make } = window.nano;
const find = (selector) => element.querySelector(selector);

function drawBar(value) {
  const bar = find(".progress");
  bar.hidden = value.fraction === null;
  bar.setAttribute("aria-valuenow", Math.round(100 * (value.fraction ?? 0)));
  bar.dataset.state = value.state;
  find(".progress i").style.transform = `scaleX(${value.fraction ?? 0})`;
}

function strip({ step, prompt, text }) {
  const row = make("li");
  const writing = make("pre");
  writing.append(make("span", "prompt", prompt), text);
  row.append(make("span", "step", `step ${step.toLocaleString("en")}`), writing);
  return row;
}

function draw() {
  const value = props.value;
  find(".run-progress").hidden = !value;
  element.closest(".train-view").dataset.run = value?.state ?? ""; // the style sheet follows the run's state
  if (!value) return;
  drawBar(value);
  find(".facts").textContent = value.facts;
  find(".strips").replaceChildren(...value.samples.map(strip));
}

watch("value", draw);
draw();
