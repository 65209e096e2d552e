// value: a sentence.
const node = element.querySelector(".line");
const draw = () => {
  node.textContent = props.value || "";
  node.hidden = !props.value;
};
watch("value", draw);
draw();
