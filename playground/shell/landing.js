// @ts-check
// Where a visitor lands: on the tab that the address (or the server) names, unless they clicked one before it answered.

let clicked = false;
document.addEventListener("click", (event) => (clicked ||= Boolean(event.target.closest?.('[role="tab"]'))), true);
const keep = { __type__: "update" };
export const land = ({ tab }) => (clicked ? [keep, keep] : [{ ...keep, selected: tab }, tab]);
