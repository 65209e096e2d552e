// @ts-check
// Finds snapshots in a run's ascending list of steps.

/** @type {(steps: number[], step: number) => number | null} The step nearest to a given one; null without steps. */
export const nearest = (steps, step) =>
  steps.length ? steps.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best)) : null;

/** @type {(steps: number[], share: number) => number | null} The step nearest to a fraction of the training. */
export const atShare = (steps, share) => nearest(steps, share * steps.at(-1));

/** @type {(steps: number[], step: number) => number[]} The other steps, sorted by how many snapshots away they are. */
export function nearestFirst(steps, step) {
  const here = steps.indexOf(step);
  const distance = (other) => Math.abs(steps.indexOf(other) - here);
  return steps.filter((other) => other !== step).sort((a, b) => distance(a) - distance(b));
}
