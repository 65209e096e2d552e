// @ts-check
// What Gradio's listeners call: the selection or a button, with the prompt and dials as they stand at the moment.
export const unheard = {}; // the last selection of each followed text, for one that is put on the page later

function say(what, place, chosen, typed, active) {
  const detail = { what, place, chosen, active, typed };
  unheard[place] = detail;
  document.dispatchEvent(new CustomEvent("nano:question", { detail }));
}
export const follow = ({ place, tab, selection, open, ...typed }) =>
  say("follow", place, selection, typed, tab === open);
export const glance = (place, run, step, passing = false) =>
  document.dispatchEvent(new CustomEvent("nano:question", { detail: { what: "glance", place, run, step, passing } }));
export const press = ({ place, selection, ...typed }) => say("press", place, selection, typed, true);
