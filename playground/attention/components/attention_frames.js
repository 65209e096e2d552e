// Frames of the snapshots beside the one that is shown, fetched ahead, so that dragging the time bar does not wait.
const { inside } = window.nano;
const frame = () => inside.held.frame;
const ROOM = 600_000; // characters that are fetched ahead at a time
const MOST = 24; // frames that are kept
const ahead = new Map(); // what the server sent, by snapshot and text, the least recently used first

const keyOf = (value) => `${value.stamp}\n${value.characters.join("")}`;
let round = null; // the latest fetching; an earlier one ends

function keep(value) {
    ahead.delete(keyOf(value));
    ahead.set(keyOf(value), value);
    if (ahead.size > MOST) ahead.delete(ahead.keys().next().value);
}

async function fetchAhead(value) {
    const [run, step] = [value.stamp.slice(0, value.stamp.lastIndexOf(" ")), value.step];
    const steps = window.nano.runs().find((row) => row.id === run)?.steps ?? [];
    const distance = (other) => Math.abs(steps.indexOf(other) - steps.indexOf(step));
    const near = steps.filter((other) => other !== step).sort((one, other) => distance(one) - distance(other));
    const text = value.characters.join("");
    const mine = (round = Symbol(run));
    for (const other of near.slice(0, Math.max(2, Math.floor(ROOM / value.weights.length)))) {
        if (ahead.has(`${run} ${other}\n${text}`)) continue;
        const found = await server.frame({ run, step: other, text }).catch(() => null);
        if (!found?.weights || round !== mine) return;
        keep(found);
    }
}

let reached = null; // {run, step, passing}: where the time bar has come to
let passed = false; // ▶ has gone by, and the server was not asked about all that is to be seen

const ask = () => {
    passed = false;
    trigger("ask", {});
};

// A frame has arrived: it is kept, and what lies beside it is fetched. Whether the time bar still stands there.
function arrived(value) {
    keep(value);
    const late = Number.isInteger(reached?.step) && value.stamp === `${reached.run} ${value.step}` && value.step !== reached.step;
    if (!late) fetchAhead(value);
    return !late;
}

// The time bar moves: what is there is shown at once. Once ▶ has come to rest, the rest is asked for.
document.addEventListener("nano:question", ({ detail }) => {
    if (detail.what !== "glance" || detail.place !== GLANCES) return;
    reached = detail;
    if (document.body.dataset.tab !== "attention" || !frame()) return;
    const found = ahead.get(`${detail.run} ${detail.step}\n${frame().characters.join("")}`);
    if (found && found.stamp !== frame().stamp) inside.show(found);
    if (found && detail.passing) fetchAhead(found);
    if (passed && !detail.passing) ask();
});

// The selection has changed. While ▶ passes by frames that are here, only that is asked for which is not in them.
function moved() {
    const { dataset } = document.body;
    const ranking = Object.keys(inside.held.effects?.of ?? {}).length < inside.held.effects?.total;
    passed = Boolean(reached?.passing) && !ranking && frame()?.stamp === `${reached.run} ${reached.step}`;
    if (!passed) ask();
    else if (dataset.lens && dataset.lens !== "looks") trigger("turn", {});
    if (dataset.whole) trigger("whole", {});
}

// What is found out later about the heads that are shown belongs to their frame.
inside.on("effects names", () => {
    const kept = frame() && ahead.get(keyOf(frame()));
    for (const what of ["effects", "names"]) if (kept && inside.held[what]?.stamp === kept.stamp) kept[what] = inside.held[what];
});
inside.on("moved", moved);
if (inside.held.moved) moved();
