// @ts-check
// Helpers that create DOM nodes.
// They set text with textContent only, because titles and texts are untrusted user input.

import { constants } from "./constants.js";

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 */
export function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Creates a dot in the color of a run.
export function dot(run) {
  const made = make("i", "dot");
  paint(made, run);
  return made;
}

export function paint(made, run) {
  made.style.setProperty("--run", run ? `var(--run-${(run.slot % constants.colours) + 1})` : "transparent");
  made.classList.toggle("dashed", Boolean(run) && run.slot >= constants.colours);
}

/** A button; without `act`, its container handles the clicks. */
export function button(text, className, act) {
  const made = make("button", className, text);
  made.type = "button";
  if (act)
    made.addEventListener("click", (event) => {
      event.stopPropagation();
      act(event);
    });
  return made;
}

/** Downloads a text as a file. */
export function downloadText(name, text, type = "text/plain") {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/**
 * Copies a text to the clipboard. Browsers block the clipboard API on remote pages without TLS; the deprecated
 * execCommand still works there.
 * @param {string} text
 * @returns {Promise<boolean>} whether it was copied
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
