// @ts-check
// Shows a generated text while it streams. `value`: {prompt, text, note}.
// New characters are appended instead of replacing the text, so that the user's text selection is kept.

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
    // Scroll along with the stream only if the user has scrolled to the end; reading starts at the top.
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
