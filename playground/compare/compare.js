// @ts-check
// Compare in the browser: who sits in the columns unless somebody chooses, how the time bar moves all of them, and when they
// are to be written anew. One move changes several columns, one after the other: it is one question, asked once they rest.
import { runs } from "../services/runs.js";

export const compare = (() => {
  const REST_MS = 80;
  const compare = { say: () => {}, lineup, together, follow, press };

  // Runs with something to show: the models that came with the page from small to large, else finished runs, newest first.
  function lineup() {
    const ready = runs().filter((row) => row.steps.length);
    const shipped = ready.filter((row) => row.shipped).reverse(); // they are listed from large to small
    const own = ready.filter((row) => !row.shipped);
    const finished = (row) => row.state === "completed";
    const newest = [...own.filter(finished), ...own.filter((row) => !finished(row))];
    return shipped.length > 1 ? [...shipped, ...newest] : [...newest, ...shipped];
  }

  // When the time bar moves within a run, the columns go to the same share of their own training.
  let bar = { run: null, share: null };
  function together({ selection: chosen, tab, ...named }) {
    const models = Object.values(named);
    const before = bar;
    const steps = stepsOf(chosen);
    bar = { run: chosen.run, share: steps.length > 1 ? chosen.step / steps.at(-1) : null };
    const still = bar.run !== before.run || bar.share === before.share || bar.share === null;
    return tab !== "compare" || still
      ? models
      : models.map((model) => ({ ...model, step: at(stepsOf(model), bar.share) }));
  }

  const stepsOf = ({ run }) => runs().find((row) => row.id === run)?.steps || [];

  function at(steps, share) {
    const away = (step) => Math.abs(step - share * steps.at(-1));
    return steps.length ? steps.reduce((best, step) => (away(step) < away(best) ? step : best)) : null;
  }

  function question({ count, prompt, temperature, top_k, max_length, seed, ...models }) {
    return { models: Object.values(models).slice(0, count || 0), prompt, temperature, top_k, max_length, seed };
  }

  let known = null; // the models, as they were last told of
  let written = null; // the models whose texts are shown
  let resting = 0;

  function follow({ tab, view, ...now }) {
    clearTimeout(resting);
    if (tab === "compare") resting = setTimeout(() => moved(view, question(now)), REST_MS);
  }

  function moved(view, asked) {
    const now = JSON.stringify(asked.models);
    if (!asked.models.length || asked.models.some((model) => !model?.run)) return;
    written ??= now; // at first an invitation to write stands there
    const fresh = now !== known;
    known = now;
    if (view === "texts" && now !== written) {
      written = now;
      compare.say("ask", asked);
    } else if (fresh) {
      compare.say("tell", asked);
      if (view === "scored" && document.querySelector("#compare-difference .letters span"))
        document.getElementById("compare-score").click();
    }
  }

  // Write all was pressed: the same texts are written again, too.
  function press(now) {
    const asked = question(now);
    written = known = JSON.stringify(asked.models);
    compare.say("ask", asked);
  }

  return compare;
})();

export const { follow, press, together } = compare;
