// @ts-check
// Shows the attention maps of all heads as thumbnails on one canvas, with a bar for each head's ablation effect.
// A transparent button over each thumbnail makes it accessible to the keyboard and to screen readers.
// `value`: the selected head, {layer, head}, counted from 1 as in the labels.

import { constants, sentencesOf } from "../../browser/constants.js";
import { button, make } from "../../browser/dom.js";
import { fill, signed } from "../../browser/format.js";
import { headLabel, inspection, knownOf, rowRoots, validHead } from "../inspection_store.js";

const SENTENCES = sentencesOf("attention");

export function mount({ element, props, watch }) {
  const COLUMN = 312; // minimum width of a layer's row of heads, in pixels
  const [SMALLEST, LARGEST] = [56, 96]; // side length of a thumbnail
  const BAR = 5;
  const GAP = 6;
  const LABEL = 18;
  const FRAME = 4; // padding around the grid
  const PREVIEW = 176;

  const scroller = element.querySelector(".grid-scroll");
  const canvas = element.querySelector(".grid-canvas");
  const buttons = element.querySelector(".grid-buttons");
  const preview = element.querySelector(".grid-preview");
  const note = element.querySelector(".grid-note");
  const EMPTY = note.textContent;

  let shade = null; // color table: 256 packed pixels, indexed by the square root of the weight
  let images = []; // one canvas per head

  const frame = () => inspection.state.frame;
  const chosen = () => validHead(props.value);
  const color = (token) => getComputedStyle(element).getPropertyValue(token).trim() || "#808080";

  function channels(token) {
    const context = make("canvas").getContext("2d");
    context.fillStyle = color(token);
    return [1, 3, 5].map((at) => parseInt(context.fillStyle.slice(at, at + 2), 16));
  }

  function shades() {
    const [from, to] = [channels("--attention-from"), channels("--attention-to")];
    return Uint32Array.from({ length: 256 }, (_, root) => {
      const [red, green, blue] = from.map((start, i) => Math.round(start + ((to[i] - start) * root) / 255));
      return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
  }

  function image(which) {
    const { size } = frame();
    const small = make("canvas");
    small.width = small.height = size;
    const context = small.getContext("2d");
    const pixels = context.createImageData(size, size);
    const packed = new Uint32Array(pixels.data.buffer);
    for (let row = 0; row < size; row++) {
      const roots = rowRoots(which, row);
      for (let column = 0; column <= row; column++) packed[row * size + column] = shade[roots[column]];
    }
    context.putImageData(pixels, 0, 0); // masked positions stay transparent
    return small;
  }

  const pitch = () => side() + BAR + 3 + GAP;
  const room = () => Math.max(COLUMN, scroller.clientWidth - 2 * FRAME);
  const side = () => Math.min(Math.max(Math.floor((room() + GAP) / frame().heads) - GAP - BAR - 3, SMALLEST), LARGEST);
  const positionOf = ({ layer, head }) => ({ left: (head - 1) * pitch(), top: (layer - 1) * (side() + LABEL + GAP) });

  function stamp(target, source, left, top, pixels) {
    target.imageSmoothingEnabled = frame().size > pixels; // enlarge with sharp cells, shrink smoothly
    target.drawImage(source, left, top, pixels, pixels);
  }

  // Returns a head's ablation effect and its share of the largest effect, or null before the ranking.
  function importance(which) {
    const effects = knownOf("effects");
    const most = Math.max(...Object.values(effects).map(({ increase }) => increase), 1e-9);
    const found = effects[headLabel(which)];
    if (!found) return null;
    const clear = found.error !== null && Math.abs(found.increase) > constants.clear_errors * found.error;
    return { ...found, clear, share: Math.max(found.increase, 0) / most };
  }

  function bar(context, which, { line, text, quiet }) {
    const { left, top } = positionOf(which);
    const found = importance(which);
    context.strokeStyle = line;
    context.strokeRect(left + side() + 3.5, top + 0.5, BAR - 1, side() - 1);
    if (!found) return;
    context.fillStyle = found.clear ? text : quiet;
    context.globalAlpha = found.clear ? 1 : 0.5;
    const height = Math.max(found.share * side(), 1);
    context.fillRect(left + side() + 3, top + side() - height, BAR, height);
    context.globalAlpha = 1;
  }

  function paint() {
    if (!frame()) return;
    const began = performance.now();
    shade = shades();
    const ratio = window.devicePixelRatio || 1;
    const width = frame().heads * pitch() - GAP;
    const height = frame().layers * (side() + LABEL + GAP);
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    // Read the colors once, because each call forces a layout.
    const [page, line, text, quiet] = ["--page", "--line", "--text", "--quiet"].map(color);
    images = heads().map((which) => {
      const small = image(which);
      const { left, top } = positionOf(which);
      context.fillStyle = page;
      context.fillRect(left, top, side(), side());
      stamp(context, small, left, top, side());
      bar(context, which, { line, text, quiet });
      return small;
    });
    canvas.dataset.milliseconds = (performance.now() - began).toFixed(1);
  }

  function heads() {
    const { layers, heads } = frame();
    const each = (_, i) => ({ layer: Math.floor(i / heads) + 1, head: (i % heads) + 1 });
    return Array.from({ length: layers * heads }, each);
  }

  function layOut() {
    const now = frame() ? `${frame().layers} × ${frame().heads} of ${side()}` : "";
    if (buttons.dataset.shape === now) return;
    buttons.dataset.shape = now;
    buttons.replaceChildren(...(frame() ? heads().map(headButton) : []));
  }

  function headButton(which) {
    const made = button(headLabel(which));
    const { left, top } = positionOf(which);
    const [width, height] = [side() + BAR + 3, side() + LABEL];
    made.setAttribute("role", "radio");
    Object.assign(made.dataset, which);
    Object.assign(made.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    return made;
  }

  const headOf = (made) => ({ layer: Number(made.dataset.layer), head: Number(made.dataset.head) });

  function effectText({ increase, error }) {
    const uncertainty = error === null ? "" : ` ± ${error.toFixed(3)}`;
    return fill(SENTENCES.HEAD_EFFECT, { change: signed(increase) + uncertainty });
  }

  // Describes each head's type and effect in words, for tooltips and screen readers.
  function describe() {
    for (const made of buttons.children) {
      const which = headOf(made);
      const found = importance(which);
      const name = knownOf("names")[headLabel(which)];
      const known = [name, found && effectText(found)].filter(Boolean);
      made.title = known.join(", ");
      made.setAttribute("aria-label", [fill(SENTENCES.HEAD_NAME, which), ...known].join(", "));
    }
  }

  function mark() {
    if (!frame()) return;
    const { layer, head } = chosen();
    for (const made of buttons.children) {
      const is = headOf(made).layer === layer && headOf(made).head === head;
      made.setAttribute("aria-checked", is);
      made.tabIndex = is ? 0 : -1;
    }
    inspection.set({ head: { layer, head } });
  }

  function choose(which, focus) {
    if (!frame()) return;
    props.value = validHead(which);
    mark();
    if (focus) buttons.querySelector('[aria-checked="true"]').focus();
  }

  function showPreview(made) {
    const which = headOf(made);
    const { left, top } = positionOf(which);
    const room = scroller.clientWidth + scroller.scrollLeft;
    const offset = left + pitch() + PREVIEW <= room ? left + pitch() : left - PREVIEW - GAP;
    preview.width = preview.height = PREVIEW * 2;
    stamp(preview.getContext("2d"), images[[...buttons.children].indexOf(made)], 0, 0, PREVIEW * 2);
    Object.assign(preview.style, { left: `${Math.max(0, offset)}px`, top: `${top}px` });
    preview.hidden = false;
    inspection.set({ pointed: which });
  }

  function hidePreview() {
    if (preview.hidden) return;
    preview.hidden = true;
    inspection.set({ pointed: null });
  }

  function refresh() {
    canvas.hidden = !frame();
    note.textContent = frame() ? "" : inspection.state.note || EMPTY;
    note.hidden = Boolean(frame());
    hidePreview();
    layOut();
    paint();
    describe();
    mark();
  }

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  buttons.addEventListener("click", (event) => {
    const made = event.target.closest("button");
    if (made) choose(headOf(made), true);
  });
  buttons.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !frame()) return;
    event.preventDefault();
    const { layer, head } = chosen();
    choose({ layer: layer + step[0], head: head + step[1] }, true);
  });
  buttons.addEventListener("pointerover", (event) => {
    const made = event.target.closest("button");
    if (made && event.pointerType === "mouse") showPreview(made);
  });
  buttons.addEventListener("pointerleave", hidePreview);

  watch("value", mark);
  inspection.subscribe(refresh, "frame");
  inspection.subscribe(paint, "effects");
  inspection.subscribe(describe, "effects", "names");
  new ResizeObserver(() => frame() && !buttons.dataset.shape.endsWith(` ${side()}`) && refresh()).observe(scroller);
  new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  refresh();
}

/** Shows the progress and the summary of a ranking. `value`: {of, total, text, stamp}; frames hold finished ones. */
export function ranking({ element, props, watch }) {
  const progress = element.querySelector(".progress");
  const bar = progress.querySelector("i");
  const summary = element.querySelector(".said");

  function draw() {
    const { of = {}, total = 0, text = "" } = inspection.state.effects ?? {};
    const done = Object.keys(of).length;
    progress.hidden = !total || done >= total;
    progress.setAttribute("aria-valuenow", total ? Math.round((100 * done) / total) : 0);
    bar.style.transform = `scaleX(${total ? done / total : 0})`;
    summary.textContent = text;
  }

  watch("value", () => inspection.set({ effects: props.value }));
  if (props.value?.total) inspection.set({ effects: props.value });
  inspection.subscribe(draw, "frame", "effects");
  draw();
}

/** Receives the type of each head, for tooltips and screen readers. `value`: {of, stamp}. Renders nothing itself. */
export function names({ props, watch }) {
  const receive = () => inspection.set({ names: props.value?.of ? props.value : null });
  watch("value", receive);
  receive();
}
