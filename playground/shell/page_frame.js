// What the whole page shares in the browser: its address, its theme, and how runs are told apart.
window.nano = (() => {
  const KEYS = ["tab", "run", "step", "layer", "head", "lens", "view", "prompt"];

  const asked = new URLSearchParams(location.search).get("prompt"); // what the page was opened with

  // Keep values in the address; empty ones are left out. Until the server has read the address, it stays as it came.
  let held = {};
  function remember(values) {
    if (held) return Object.assign(held, values);
    const url = new URL(location.href);
    for (const [key, value] of Object.entries(values)) {
      if (!KEYS.includes(key)) continue;
      if (value === null || value === undefined || value === "") url.searchParams.delete(key);
      else url.searchParams.set(key, String(value).slice(0, 1000));
    }
    history.replaceState(null, "", url);
  }

  function theme(name) {
    document.body.classList.toggle("dark", name === "dark");
    document.documentElement.style.colorScheme = name;
    window.dispatchEvent(new CustomEvent("nano:theme", { detail: name }));
  }

  // What this browser remembers of a visitor. Some let nothing be kept: then it is known until the page is closed.
  const memory = {};
  function keep(key, value) {
    memory[key] = value;
    try {
      localStorage.setItem(`nano-${key}`, value);
    } catch {
      // not here
    }
  }
  function kept(key) {
    try {
      return localStorage.getItem(`nano-${key}`) ?? memory[key];
    } catch {
      return memory[key];
    }
  }

  const preferred = () => kept("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

  function toggleTheme() {
    const next = document.body.classList.contains("dark") ? "light" : "dark";
    keep("theme", next);
    theme(next);
  }

  // Style depends on the open tab: the time bar is not shown on Corpus.
  function opened(tab) {
    document.body.dataset.tab = tab;
    remember({ tab });
  }

  // A run's state as an icon and a word; colour never says it alone.
  const STATES = {
    queued: ["◷", "queued"], running: ["▸", "training"], paused: ["‖", "paused"], completed: ["✓", "finished"],
    stopped: ["■", "stopped"], failed: ["✕", "failed"], diverged: ["✕", "diverged"], lost: ["?", "lost"],
    stalled: ["?", "stalled"],
  };
  const state = (run) => STATES[run.state] || ["·", String(run.state)];

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function dot(run) {
    const made = element("i", "dot");
    paint(made, run);
    return made;
  }

  function paint(made, run) {
    made.style.setProperty("--run", run ? `var(--run-${(run.slot % 5) + 1})` : "transparent");
    made.classList.toggle("dashed", Boolean(run) && run.slot >= 5);
  }

  // The catalogue's rows, and who wants to know when they change.
  let rows = [];
  const listeners = [];
  function publish(next) {
    rows = next;
    const early = held;
    held = null;
    if (early) remember(early);
    document.body.dataset.runs = rows.length ? "some" : "none";
    listeners.forEach((listener) => listener());
  }
  const runs = () => rows;
  const onRuns = (listener) => listeners.push(listener);

  // The address to hand on. Whoever has the key of a run in its link can look at that run, where strangers meet.
  const look = () => rows.find((row) => row.id === new URLSearchParams(location.search).get("run"))?.look || "";
  function link() {
    const url = new URL(location.href);
    url.searchParams.delete("look");
    if (look()) url.searchParams.set("look", look());
    return url.href;
  }

  // The newest snapshot goes into the address as none at all: who opens it again follows the run in training.
  function chose({ run, step }) {
    const steps = rows.find((row) => row.id === run)?.steps || [];
    remember({ run, step: step === steps[steps.length - 1] ? null : step });
    return run;
  }

  // Whether it is copied. The clipboard is closed to pages served without TLS from another machine: then the old way.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyByHand(text);
    }
  }

  function copyByHand(text) {
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  const sheet = (open) => {
    document.body.classList.toggle("runs-open", open);
    document.getElementById("runs-toggle")?.setAttribute("aria-expanded", String(open));
  };

  document.addEventListener("DOMContentLoaded", () => theme(preferred()));
  if (document.body) theme(preferred());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(preferred()));

  return {
    remember, keep, kept, chose, opened, toggleTheme, theme, preferred, state, element, dot, paint, publish, runs, onRuns, copy,
    sheet, link, look, asked,
  };
})();
