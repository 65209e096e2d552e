// @ts-check
// Page state that style sheets read from the body element: theme, open tab, view and run list.

import { selection } from "../browser/selection.js";
import { load, save } from "../browser/storage.js";
import { createStore } from "../browser/store.js";
import { remember } from "./url.js";

/** The open tab ("" until the server has answered) and the selection at the time it was opened. */
export const page = createStore({ tab: "", openedWith: { run: null, step: null } });

export const preferred = () => load("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

export function theme(name) {
  document.body.classList.toggle("dark", name === "dark");
  document.documentElement.style.colorScheme = name;
}

export function toggleTheme() {
  const next = document.body.classList.contains("dark") ? "light" : "dark";
  save("theme", next);
  theme(next);
}

export function opened({ tab }) {
  document.body.dataset.tab = tab;
  remember({ tab });
  const { run, step } = selection.state;
  page.set({ tab, openedWith: { run, step } });
}

// Opens or closes the run list on small screens. When it closes, the keyboard focus returns to its button.
export function sheet(open) {
  const toggle = document.getElementById("runs-toggle");
  const inside = document.getElementById("sidebar")?.contains(document.activeElement);
  if (!open && inside && document.body.classList.contains("runs-open")) toggle?.focus();
  document.body.classList.toggle("runs-open", open);
  toggle?.setAttribute("aria-expanded", String(open));
}

theme(preferred());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(preferred()));

// Stores the open Attention or Compare view. All views are in the DOM, so that switching is instant.
export function turned({ lens, view }) {
  if (lens !== undefined) document.body.dataset.lens = lens;
  if (view !== undefined) document.body.dataset.compare = view;
  remember(lens === undefined ? { view } : { lens });
}
