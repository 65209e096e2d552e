// The text, shaded by where one of its characters looks: the head comes from the grid, the character from the pointer,
// the keyboard or a tap. `value` brings all weights, or a note why there are none; the grid reads them from here.

const text = element.querySelector(".text-view");
const caption = element.querySelector(".text-caption");
const GLYPHS = { " ": "␣", "\n": "⏎", "\t": "⇥" };
const EVEN = 0.25; // a row that is spread out more evenly than this stays pale
const LIGHT_ON_DARK = 0.6; // from this much of the strongest colour on, letters change to the other end of the scale

let model = null; // {layers, heads, size, characters, roots: Uint8Array of 255 * sqrt(weight), (L, H, T, T)}
let looking = null; // index of the character whose row is shown; null: the last

const glyph = (character) => GLYPHS[character] ?? character;
const percent = (weight) => `${Math.round(100 * weight)} %`;

function build() {
    text.replaceChildren();
    for (const [index, character] of (model?.characters ?? []).entries()) {
        const letter = document.createElement("span");
        letter.textContent = character === "\n" ? "⏎" : character;
        letter.dataset.index = index;
        if (character === "\n" || character === "\t") letter.className = "sign";
        text.append(letter);
        if (character === "\n") text.append(document.createElement("br"));
    }
}

function weightsOf({ layer, head }, row) {
    const { heads, size, roots } = model;
    const start = (((layer - 1) * heads + head - 1) * size + row) * size;
    return Array.from(roots.subarray(start, start + row + 1), (root) => (root / 255) ** 2);
}

function tint(letter, share) {
    const mixed = `color-mix(in srgb, var(--attention-to) ${(100 * share).toFixed(1)}%, var(--attention-from))`;
    letter.style.background = share > 0.02 ? mixed : "";
    letter.style.color = share > LIGHT_ON_DARK ? "var(--attention-from)" : "";
}

function summary({ layer, head }, row, weights) {
    const found = weights.map((weight, index) => [weight, index]).sort((a, b) => b[0] - a[0]);
    const top = found.slice(0, 3).filter(([weight]) => weight >= 0.005);
    const places = top.map(([weight, index]) => `${glyph(model.characters[index])} ${percent(weight)}`);
    return `L${layer}·H${head}, from “${glyph(model.characters[row])}”: ${places.join(" · ")}`;
}

function shade() {
    const head = window.nanoHead;
    const shown = Boolean(model && head && head.layer <= model.layers && head.head <= model.heads);
    caption.hidden = text.hidden = !shown;
    if (!shown) return;
    const row = Math.min(looking ?? model.size - 1, model.size - 1);
    const weights = weightsOf(head, row);
    const strongest = Math.max(...weights, EVEN);
    for (const letter of text.querySelectorAll("span")) {
        const index = Number(letter.dataset.index);
        tint(letter, index <= row ? Math.sqrt(weights[index] / strongest) : 0);
        letter.classList.toggle("looking", index === row);
        letter.classList.toggle("ahead", index > row);
    }
    caption.textContent = summary(head, row, weights);
}

function look(index) {
    if (!model || index === looking) return;
    looking = index;
    shade();
}

function decode({ weights, ...rest }) {
    const roots = Uint8Array.from(atob(weights), (byte) => byte.charCodeAt(0));
    return { ...rest, size: rest.characters.length, roots };
}

function take() {
    const before = model?.characters.join("\u0000");
    model = props.value?.weights ? decode(props.value) : null;
    window.nanoWeights = model ?? { note: props.value?.note };
    if (model?.characters.join("\u0000") !== before) {
        looking = null;
        build();
    }
    shade();
    document.dispatchEvent(new CustomEvent("nano:weights"));
}

const indexAt = (event) => {
    const letter = event.target.closest("span[data-index]");
    return letter && Number(letter.dataset.index);
};
text.addEventListener("pointerover", (event) => indexAt(event) !== null && look(indexAt(event)));
text.addEventListener("pointerdown", (event) => indexAt(event) !== null && look(indexAt(event)));
text.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !model) return;
    event.preventDefault();
    look(Math.min(Math.max((looking ?? model.size - 1) + step, 0), model.size - 1));
});
document.addEventListener("nano:head", shade);
watch("value", take);
take();
