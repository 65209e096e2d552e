// @ts-check
// value: {sizes: [[preset, words], …], ways: [[way, nats, choices], …] (empty while it counts), entropy, choices} or null.

import { make } from "../services/dom.js";

export function mount({ element, props, watch }) {
  const find = (selector) => element.querySelector(selector);

  function bar([way, nats, choices], most) {
    const ink = make("i");
    ink.style.width = `${(100 * nats) / most}%`;
    const track = make("span", "track");
    track.append(ink);
    const cell = make("dd");
    cell.append(track, make("span", "count", nats.toFixed(2)), make("span", "quiet", `choosing among ${choices}`));
    return [make("dt", "", way), cell];
  }

  const EXPLAINED =
    "Losses in nats a character, on the end that is kept back. Below the last of them a model has learned something " +
    "that such counting cannot know.";

  function draw() {
    const value = props.value;
    for (const fold of element.querySelectorAll(".fold")) fold.hidden = !value;
    if (!value) return;
    find(".sizes dl").replaceChildren(
      ...value.sizes.flatMap(([size, words]) => [make("dt", "", size), make("dd", "", words)]),
    );
    find(".ladder dl").replaceChildren(...value.ways.flatMap((way) => bar(way, value.ways[0][1])));
    find(".ladder .lead").textContent = value.ways.length ? EXPLAINED : "Counting…";
    find(".ladder .entropy").textContent =
      `The characters of the whole text carry ${value.entropy} nats each (their entropy), like choosing among ${value.choices}.`;
  }

  watch("value", draw);
  draw();
}
