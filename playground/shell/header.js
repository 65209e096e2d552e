const copy = element.querySelector("#copy-link");
let calm;

function copied(word) {
  copy.textContent = word;
  clearTimeout(calm);
  calm = setTimeout(() => (copy.textContent = "Copy link"), 1600);
}

copy.addEventListener("click", async () => {
  copied((await window.nano.copy(window.nano.link())) ? "Copied" : "Copy it from the address bar");
});
copy.addEventListener("pointerenter", () => {
  const handed = "Whoever opens the link can look at this run and at parts of its text, and change nothing.";
  copy.title = window.nano.look() ? handed : "";
});

element.querySelector("#theme-toggle").addEventListener("click", window.nano.toggleTheme);
element.querySelector("#runs-toggle").addEventListener("click", () => {
  window.nano.sheet(!document.body.classList.contains("runs-open"));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") window.nano.sheet(false);
});
// Gradio sets its own theme class while it mounts; ours is the one that counts.
window.nano.theme(window.nano.preferred());
