// What each head does, in words, and at which step: for the grid, which tells it to pointers and screen readers, and for the
// curves, which mark the step. Nothing is drawn here.

const { inside } = window.nano;

function take() {
    inside.put("names", props.value?.names ?? null);
    inside.put("step", props.value?.step ?? null);
}
watch("value", take);
take();
