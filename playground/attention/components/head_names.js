// What each head does, in words: for the grid, which tells it to pointers and screen readers. Nothing is drawn here.

const { inside } = window.nano;

const take = () => inside.put("names", props.value?.of ? props.value : null);
watch("value", take);
take();
