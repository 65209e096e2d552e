// @ts-check
// What style sheets know of the page: theme, open tab, and whether the list of runs is open on a small screen.

import { selection } from "../services/selection.js";
import { keep, kept } from "../services/storage.js";
import { createStore } from "../services/store.js";
import { remember } from "./url.js";

/** The open tab ("" until the server has answered), and the selection with which it was opened. */
export const page = createStore({ tab: "", openedWith: { run: null, step: null } });

export const preferred = () => kept("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

export function theme(name) {
  document.body.classList.toggle("dark", name === "dark");
  document.documentElement.style.colorScheme = name;
}

export function toggleTheme() {
  const next = document.body.classList.contains("dark") ? "light" : "dark";
  keep("theme", next);
  theme(next);
}

export function opened({ tab }) {
  document.body.dataset.tab = tab;
  remember({ tab });
  const { run, step } = selection.state;
  page.set({ tab, openedWith: { run, step } });
}

export function sheet(open) {
  document.body.classList.toggle("runs-open", open);
  document.getElementById("runs-toggle")?.setAttribute("aria-expanded", String(open));
}

theme(preferred());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(preferred()));

// Which lens or view is open: all of them are in the page, so that turning to one is instant.
export function turned({ lens, view }) {
  if (lens !== undefined) document.body.dataset.lens = lens;
  if (view !== undefined) document.body.dataset.compare = view;
  remember(lens === undefined ? { view } : { lens });
}
