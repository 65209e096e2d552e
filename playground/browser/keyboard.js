// @ts-check
// Roving tabindex: rows of buttons are a single Tab stop, and the arrow keys, Home and End move between them.
export function rove(board, row) {
  const rows = () => Array.from(board.querySelectorAll(row), (each) => [...each.querySelectorAll("button")]);

  function neighbor(button, key) {
    const all = rows();
    const at = all.findIndex((each) => each.includes(button));
    const column = all[at].indexOf(button);
    return {
      ArrowLeft: all[at][column - 1],
      ArrowRight: all[at][column + 1],
      Home: all[at][0],
      End: all[at].at(-1),
      ArrowUp: all[at - 1]?.[column],
      ArrowDown: all[at + 1]?.[column],
    }[key];
  }

  // Makes one button the Tab stop; call it again after replacing the buttons.
  function stop(button = rows()[0]?.[0]) {
    for (const each of rows().flat()) each.tabIndex = each === button ? 0 : -1;
  }

  board.addEventListener("keydown", (event) => {
    const next = event.target.closest("button") && neighbor(event.target.closest("button"), event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  board.addEventListener("focusin", (event) => stop(event.target));
  return stop;
}
