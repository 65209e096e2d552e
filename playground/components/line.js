// @ts-check
// value: a sentence.

export function mount({ element, props, watch }) {
  const node = element.querySelector(".line");
  const draw = () => {
    node.textContent = props.value || "";
    node.hidden = !props.value;
  };
  watch("value", draw);
  draw();
}
