// All heads of a model as thumbnails on one canvas, under one button each (so that keys and screen readers find them).
// `value` is the chosen head, {layer, head}, both counted from 1 as they are labelled. The weights come from the text view,
// which has them once for both.

const COLUMN = 312; // pixels that the heads of a layer share while they can
const [SMALLEST, LARGEST] = [60, 96]; // side of a thumbnail
const GAP = 8;
const LABEL = 18;
const PREVIEW = 176;

const scroller = element.querySelector(".grid-scroll");
const canvas = element.querySelector(".grid-canvas");
const buttons = element.querySelector(".grid-buttons");
const preview = element.querySelector(".grid-preview");
const note = element.querySelector(".grid-note");
const EMPTY = note.textContent;

let model = null; // what attention_text.js made of its value
let shade = null; // colour by root: 256 packed pixels
let images = []; // one small canvas a head, drawn once per theme

function channels(token) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.fillStyle = getComputedStyle(element).getPropertyValue(token).trim() || "#808080";
    return [1, 3, 5].map((at) => parseInt(pen.fillStyle.slice(at, at + 2), 16));
}

function shades() {
    const [from, to] = [channels("--attention-from"), channels("--attention-to")];
    return Uint32Array.from({ length: 256 }, (_, root) => {
        const [red, green, blue] = from.map((start, i) => Math.round(start + ((to[i] - start) * root) / 255));
        return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
}

function image(index) {
    const { size, roots } = model;
    const small = document.createElement("canvas");
    small.width = small.height = size;
    const pen = small.getContext("2d");
    const pixels = pen.createImageData(size, size);
    const packed = new Uint32Array(pixels.data.buffer);
    const start = index * size * size;
    for (let row = 0; row < size; row++) {
        for (let column = 0; column <= row; column++) { // what lies ahead stays clear
            packed[row * size + column] = shade[roots[start + row * size + column]];
        }
    }
    pen.putImageData(pixels, 0, 0);
    return small;
}

const side = () => Math.min(Math.max(Math.floor((COLUMN + GAP) / model.heads) - GAP, SMALLEST), LARGEST);

function place(layer, head) {
    return { left: (head - 1) * (side() + GAP), top: (layer - 1) * (side() + LABEL + GAP) };
}

function stamp(target, source, left, top, pixels) {
    target.imageSmoothingEnabled = model.size > pixels; // enlarge in crisp cells, shrink smoothly
    target.drawImage(source, left, top, pixels, pixels);
}

function paint() {
    if (!model) return;
    shade = shades();
    images = Array.from({ length: model.layers * model.heads }, (_, index) => image(index));
    const ratio = window.devicePixelRatio || 1;
    const width = model.heads * (side() + GAP) - GAP;
    const height = model.layers * (side() + LABEL + GAP);
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = getComputedStyle(element).getPropertyValue("--page");
    eachHead((layer, head, index) => {
        const { left, top } = place(layer, head);
        pen.fillRect(left, top, side(), side());
        stamp(pen, images[index], left, top, side());
    });
}

function eachHead(visit) {
    for (let layer = 1; layer <= model.layers; layer++) {
        for (let head = 1; head <= model.heads; head++) visit(layer, head, (layer - 1) * model.heads + head - 1);
    }
}

function layOut() {
    buttons.replaceChildren();
    if (!model) return;
    eachHead((layer, head) => {
        const { left, top } = place(layer, head);
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("role", "radio");
        button.setAttribute("aria-label", `Layer ${layer}, head ${head}`);
        button.dataset.layer = layer;
        button.dataset.head = head;
        button.textContent = `L${layer}·H${head}`;
        Object.assign(button.style, {
            left: `${left}px`, top: `${top}px`, width: `${side()}px`, height: `${side() + LABEL}px`,
        });
        buttons.append(button);
    });
}

function chosen() {
    const within = (number, most) => Math.min(Math.max(Number.isInteger(number) ? number : 1, 1), most);
    return { layer: within(props.value?.layer, model.layers), head: within(props.value?.head, model.heads) };
}

function mark() {
    if (!model) return;
    const { layer, head } = chosen();
    for (const button of buttons.children) {
        const is = Number(button.dataset.layer) === layer && Number(button.dataset.head) === head;
        button.setAttribute("aria-checked", is);
        button.tabIndex = is ? 0 : -1;
    }
    announce({ layer, head });
}

// The head that the text view is to show: the chosen one, or one that is pointed at.
function announce(which) {
    window.nanoHead = which;
    document.dispatchEvent(new CustomEvent("nano:head"));
}

function choose(layer, head, focus) {
    if (!model) return;
    props.value = {
        layer: Math.min(Math.max(layer, 1), model.layers),
        head: Math.min(Math.max(head, 1), model.heads),
    };
    mark();
    if (focus) buttons.querySelector('[aria-checked="true"]').focus();
}

function showPreview(button) {
    const [layer, head] = [Number(button.dataset.layer), Number(button.dataset.head)];
    const { left, top } = place(layer, head);
    const room = scroller.clientWidth + scroller.scrollLeft;
    const beside = left + side() + GAP + PREVIEW <= room ? left + side() + GAP : left - PREVIEW - GAP;
    preview.width = preview.height = PREVIEW * 2;
    stamp(preview.getContext("2d"), images[(layer - 1) * model.heads + head - 1], 0, 0, PREVIEW * 2);
    Object.assign(preview.style, { left: `${Math.max(0, beside)}px`, top: `${top}px` });
    preview.hidden = false;
    announce({ layer, head });
}

function hidePreview() {
    if (preview.hidden) return;
    preview.hidden = true;
    if (model) announce(chosen());
}

function refresh() {
    const found = window.nanoWeights ?? {};
    model = found.roots ? found : null;
    canvas.hidden = !model;
    note.textContent = model ? "" : found.note ?? EMPTY;
    note.hidden = Boolean(model);
    hidePreview();
    layOut();
    paint();
    mark();
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
buttons.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(Number(button.dataset.layer), Number(button.dataset.head), true);
});
buttons.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !model) return;
    event.preventDefault();
    const { layer, head } = chosen();
    choose(layer + step[0], head + step[1], true);
});
buttons.addEventListener("pointerover", (event) => {
    const button = event.target.closest("button");
    if (button && event.pointerType === "mouse") showPreview(button);
});
buttons.addEventListener("pointerleave", hidePreview);

watch("value", mark);
document.addEventListener("nano:weights", refresh);
new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
refresh();
