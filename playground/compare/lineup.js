// @ts-check
// The order in which runs fill Compare's columns.

/**
 * Returns the runs that have snapshots, in the order of Compare's columns: with several pretrained models, those first,
 * from small to large; otherwise the user's runs first. Finished runs precede unfinished ones, newest first.
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
