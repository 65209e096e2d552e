// @ts-check
// The page's header: Copy link, the theme switch, and the button that opens the run list on small screens.

import { sentencesOf } from "../browser/constants.js";
import { copyText } from "../browser/dom.js";
import { preferred, sheet, theme, toggleTheme } from "./page_state.js";
import { link, look } from "./url.js";

const SENTENCES = sentencesOf("shell");

export function mount({ element }) {
  const copy = element.querySelector("#copy-link");
  let resetting;

  function showResult(text) {
    copy.textContent = text;
    clearTimeout(resetting);
    resetting = setTimeout(() => (copy.textContent = SENTENCES.COPY_LINK), 1600);
  }

  copy.addEventListener("click", async () => {
    const copied = await copyText(link());
    showResult(copied ? sentencesOf("components").COPIED : SENTENCES.COPY_FROM_ADDRESS_BAR);
  });
  copy.addEventListener("pointerenter", () => {
    copy.title = look() ? SENTENCES.LINK_RIGHTS : "";
  });

  element.querySelector("#theme-toggle").addEventListener("click", toggleTheme);
  element.querySelector("#runs-toggle").addEventListener("click", () => {
    sheet(!document.body.classList.contains("runs-open"));
  });
  document.addEventListener("pointerdown", ({ target }) => {
    if (target instanceof Element && !target.closest("#sidebar, #runs-toggle")) sheet(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") sheet(false);
  });
  // Gradio sets its own theme class while it mounts; override it.
  theme(preferred());
}
