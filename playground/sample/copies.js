// @ts-check
// Shows which passages of a generated text are copied from the training text, and underlines them.
// `value`: {stamp, summary, rows, spans} or null.

import { sentencesOf } from "../browser/constants.js";
import { make } from "../browser/dom.js";
import { textEvents, texts } from "../components/text_view/texts.js";

const OPENING_MS = 100; // delay until an opened fold is visible
const checks = new Set();

/** Checks for copies after the fold was opened. `force` repeats the check of an unchanged text. */
export function recheck({ force = false }) {
  setTimeout(() => checks.forEach((check) => void check({ force })), OPENING_MS);
}

export function mount({ element, props, trigger, watch }) {
  const [root, summary, table, body] = [".copies", ".said", "table", "tbody"].map((name) =>
    element.querySelector(name),
  );
  const place = root.dataset.place;
  const REST_MS = 300; // delay after the last move of the time bar

  let checked = null; // stamp of the last text sent to the server
  let resting = 0;

  const read = () => texts[place]?.read();
  const seen = () => root.offsetParent !== null;

  function check() {
    clearTimeout(resting);
    if (!seen()) return;
    const now = read();
    if (!now?.finished) {
      summary.textContent = sentencesOf("sample").WAITING_FOR_TEXT;
      return;
    }
    if (now.stamp === checked) return;
    resting = setTimeout(() => {
      checked = now.stamp;
      trigger("check", now);
    }, REST_MS);
  }

  function draw() {
    const value = props.value;
    const now = read();
    const fits = value && value.stamp === now?.stamp;
    root.classList.toggle("old", Boolean(value) && !fits);
    if (!fits) return;
    summary.textContent = value.summary;
    table.hidden = !value.rows.length;
    body.replaceChildren(
      ...value.rows.map((row) => {
        const made = make("tr");
        made.append(make("th", "", row.length), make("td", "", row.generated), make("td", "", row.held_out));
        return made;
      }),
    );
    texts[place].underline(value.spans);
  }

  textEvents.subscribe(({ drawn }) => {
    if (drawn !== place) return;
    draw();
    check();
  }, "drawn");
  checks.add(({ force }) => {
    if (force) checked = null;
    check();
  });
  watch("value", draw);
  check();
}
