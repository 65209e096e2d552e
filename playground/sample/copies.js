// @ts-check
// Copies in a shaded text. value: {stamp, summary, rows, spans}, or null; spans are underlined in the text itself.

import { textEvents, texts } from "../components/text_view/texts.js";
import { sentencesOf } from "../services/constants.js";
import { make } from "../services/dom.js";

const OPENING_MS = 100; // until an opened fold is visible
const checks = new Set();

/** Looks for copies where the fold was opened, or `anew` once the training text has arrived. */
export function recheck({ anew = false }) {
  setTimeout(() => checks.forEach((check) => void check({ anew })), OPENING_MS);
}

export function mount({ element, props, trigger, watch }) {
  const [root, summary, table, body] = [".copies", ".said", "table", "tbody"].map((name) =>
    element.querySelector(name),
  );
  const place = root.dataset.place;
  const REST_MS = 300; // the time bar has to rest so long

  let checked = null; // stamp of the text that was sent
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
  checks.add(({ anew }) => {
    if (anew) checked = null;
    check();
  });
  watch("value", draw);
  check();
}
