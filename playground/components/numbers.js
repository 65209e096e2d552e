// @ts-check
// value: [[name, number as text], ...]

import { make } from "../services/dom.js";

export function mount({ element, props, watch }) {
  const list = element.querySelector("dl");
  const draw = () => {
    list.replaceChildren(
      ...(props.value || []).map(([name, number]) => {
        const pair = make("div");
        pair.append(make("dt", "", name), make("dd", "", number));
        return pair;
      }),
    );
  };
  watch("value", draw);
  draw();
}
