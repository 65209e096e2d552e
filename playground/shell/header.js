// @ts-check

import { copyText } from "../services/dom.js";
import { preferred, sheet, theme, toggleTheme } from "./page_state.js";
import { link, look } from "./url.js";

export function mount({ element }) {
  const copy = element.querySelector("#copy-link");
  let calm;

  function copied(word) {
    copy.textContent = word;
    clearTimeout(calm);
    calm = setTimeout(() => (copy.textContent = "Copy link"), 1600);
  }

  copy.addEventListener("click", async () => {
    copied((await copyText(link())) ? "Copied" : "Copy it from the address bar");
  });
  copy.addEventListener("pointerenter", () => {
    const handed = "Whoever opens the link can look at this run and at parts of its text, and change nothing.";
    copy.title = look() ? handed : "";
  });

  element.querySelector("#theme-toggle").addEventListener("click", toggleTheme);
  element.querySelector("#runs-toggle").addEventListener("click", () => {
    sheet(!document.body.classList.contains("runs-open"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") sheet(false);
  });
  // Gradio sets its own theme class while it mounts; ours is the one that counts.
  theme(preferred());
}
