// @ts-check
// Shows why the training settings are invalid, and marks the fields concerned.
// `value`: {text, fields}: the message and the names of the fields.

export function mount({ element, props, watch }) {
  const node = element.querySelector(".line");
  let marked = [];

  function draw() {
    const { text = "", fields = [] } = props.value || {};
    node.textContent = text;
    node.hidden = !text;
    for (const field of marked) delete field.dataset.problem;
    marked = text ? fields.map((name) => document.getElementById(`train-${name}`)).filter(Boolean) : [];
    for (const field of marked) field.dataset.problem = text;
  }

  watch("value", draw);
  draw();
}
