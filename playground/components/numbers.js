// value: [[name, number as text], ...]
const { element: make } = window.nano;
const list = element.querySelector("dl");
const draw = () => {
  list.replaceChildren(...(props.value || []).map(([name, number]) => {
    const pair = make("div");
    pair.append(make("dt", "", name), make("dd", "", number));
    return pair;
  }));
};
watch("value", draw);
draw();
