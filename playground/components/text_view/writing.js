// @ts-check
// value: {prompt, text, note}. Only what was added is put in, so that a selection in the text survives the stream.

export function mount({ element, props, watch }) {
  const box = element.querySelector(".writing");
  const [prompt, text, note] = ["prompt", "text", "note"].map((name) => box.querySelector(`.${name}`));

  function grow(node, wanted) {
    const first = node.firstChild;
    if (first && wanted.startsWith(first.data)) {
      if (wanted.length > first.data.length) first.appendData(wanted.slice(first.data.length));
    } else node.textContent = wanted;
  }

  function draw() {
    const value = props.value || {};
    // Readers start at the beginning: the end is followed only by those who went there.
    const atEnd = box.scrollTop > 0 && box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    grow(prompt, value.note ? "" : value.prompt || "");
    grow(text, value.note ? "" : value.text || "");
    grow(note, value.note || "");
    if (!value.text) box.scrollTop = 0;
    else if (atEnd) box.scrollTop = box.scrollHeight;
  }

  watch("value", draw);
  draw();
}
