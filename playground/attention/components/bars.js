// @ts-check
// Shows named amounts as bars. A row has a `value` and optionally the value `before` (a gray bar above it), a reference
// `mark`, and a `strong` flag for a bold name. With negative values, all bars start at a common zero line.

import { make } from "../../browser/dom.js";

export function mount({ element, props, watch }) {
  const list = element.querySelector(".bars");
  const caption = element.querySelector(".bars-caption");
  const legend = element.querySelector(".bars-legend");

  function bar(className, from, to, { low, high }) {
    const made = make("i", className);
    const share = (amount) => (100 * (Math.min(Math.max(amount, low), high) - low)) / (high - low);
    made.style.left = `${share(Math.min(from, to))}%`;
    made.style.width = `${share(Math.max(from, to)) - share(Math.min(from, to))}%`;
    return made;
  }

  function row(each, range) {
    const made = make("li", each.strong ? "strong" : "");
    const track = make("span", "track");
    if (range.low < 0) track.append(bar("zero", 0, 0, range));
    if (Number.isFinite(each.before)) track.append(bar("before", 0, each.before, range));
    if (Number.isFinite(each.value))
      track.append(bar(each.value < 0 ? "amount below" : "amount", 0, each.value, range));
    if (Number.isFinite(each.mark)) track.append(bar("mark", each.mark, each.mark, range));
    made.classList.toggle("paired", Number.isFinite(each.before));
    made.append(make("b", "", each.label), track, make("span", "said", each.text ?? ""));
    return made;
  }

  function draw() {
    const { rows = [], caption: words = "", legend: key = "", most = 0 } = props.value ?? {};
    const amounts = rows.flatMap(({ value, before, mark }) => [value, before, mark]).filter(Number.isFinite);
    const range = { low: Math.min(0, ...amounts), high: Math.max(most, 1e-9, ...amounts) };
    caption.textContent = words;
    caption.hidden = !words;
    legend.textContent = key;
    legend.hidden = !key;
    list.replaceChildren(...rows.map((each) => row(each, range)));
  }

  watch("value", draw);
  draw();
}
