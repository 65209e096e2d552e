// @ts-check

/**
 * Runs with something to show, in the order in which Compare fills its columns: the models that came with the page from
 * small to large, else finished runs, newest first.
 * @param {import("../types.js").RunRow[]} rows of the catalogue, newest first
 */
export function lineup(rows) {
  const ready = rows.filter((row) => row.steps.length);
  const shipped = ready.filter((row) => row.shipped).reverse(); // the catalogue lists them from large to small
  const own = ready.filter((row) => !row.shipped);
  const finished = (row) => row.state === "completed";
  const newest = [...own.filter(finished), ...own.filter((row) => !finished(row))];
  return shipped.length > 1 ? [...shipped, ...newest] : [...newest, ...shipped];
}
