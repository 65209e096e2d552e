// @ts-check
// Draws the Plotly figure in `value` and keeps the user's zoom across updates by using Plotly.react.
// Colors in a figure may be CSS variables ("var(--run-1)"), which are resolved for the current theme.

import { sentencesOf } from "../browser/constants.js";
import { make } from "../browser/dom.js";

export async function mount({ element, props, watch }) {
  const box = element.querySelector(".chart-box");
  const { empty: EMPTY, fill: FILL } = box.dataset;
  const plot = element.querySelector(".chart-plot");
  const note = element.querySelector(".chart-note");
  const labels = element.querySelector(".chart-labels");
  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const TICK_ROOM = { xaxis: 9.5, yaxis: 12 }; // pixels per character on an axis
  const NARROW = 480; // below this width, the color bar is hidden
  const CONFIG = {
    displaylogo: false,
    responsive: false, // the ResizeObserver below also handles hidden tabs
    // Touch screens show fewer buttons, because each one must be larger.
    modeBarButtons: [coarse ? ["zoomIn2d", "resetScale2d"] : ["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
  };
  const MODEBAR = { bgcolor: "rgba(0, 0, 0, 0)", color: "var(--quiet)", activecolor: "var(--text)" };

  let PL = null; // the Plotly library, stored once: a later script must not replace it under a drawn chart
  let drawnWidth = 0;
  let complete = (figure) => figure; // adds data that is already in the browser to a figure

  function loadPlotly() {
    window.nanoPlotly ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL("plotly.js", document.baseURI).href;
      script.onload = () => (window.Plotly ? resolve(window.Plotly) : reject(new Error(script.src)));
      script.onerror = () => reject(new Error(script.src));
      document.head.append(script);
    });
    return window.nanoPlotly;
  }

  // Shows a sentence instead of the chart.
  function showNote(sentence) {
    note.textContent = sentence;
    note.hidden = !sentence;
  }

  // Lists the meanings of the chart's annotations below the chart.
  let explained = "";
  function explain(layout) {
    const meanings = (layout?.annotations ?? []).map((label) => label.hovertext).filter(Boolean);
    if (!labels || meanings.join() === explained) return;
    explained = meanings.join();
    labels.hidden = !meanings.length;
    labels.querySelector("ul").replaceChildren(...meanings.map((meaning) => make("li", "", meaning)));
  }

  // Whether a list holds numbers, judged by its first and last item. Such lists contain no colors and are not copied.
  const isNumbers = (list) => [list[0], list.at(-1)].every((each) => typeof each === "number" || each === null);

  // Returns a copy of the figure in which each "var(--token)" is replaced by the token's value.
  function painted(part, style) {
    if (typeof part === "string") {
      const token = /^var\((--[\w-]+)\)$/.exec(part);
      return token ? style.getPropertyValue(token[1]).trim() || "#808080" : part;
    }
    if (Array.isArray(part)) {
      return isNumbers(part) ? part : part.map((each) => painted(each, style));
    }
    if (part && typeof part === "object") {
      return Object.fromEntries(Object.entries(part).map(([key, each]) => [key, painted(each, style)]));
    }
    return part;
  }

  // Thins the labels of a character axis to those that fit; zooming in shows more of them.
  function roomyTicks(name, full, range) {
    const axis = plot._fullLayout?.[name];
    const length = axis?._length ?? 300;
    const [low, high] = range ?? axis?.range ?? [0, full.tickvals.length];
    const step = Math.max(1, Math.ceil((TICK_ROOM[name] * Math.abs(high - low)) / length));
    const shown = full.tickvals.map((_, index) => index).filter((index) => index % step === 0);
    return {
      tickvals: shown.map((index) => full.tickvals[index]),
      ticktext: shown.map((index) => full.ticktext[index]),
    };
  }

  function labelled(layout) {
    return ["xaxis", "yaxis"].filter((name) => layout?.[name]?.ticktext);
  }

  function fitTicks() {
    const layout = props.value?.layout;
    const update = {};
    for (const name of labelled(layout)) {
      const { tickvals, ticktext } = roomyTicks(name, layout[name]);
      if (tickvals.length === plot.layout[name].tickvals.length) continue;
      update[`${name}.tickvals`] = tickvals;
      update[`${name}.ticktext`] = ticktext;
    }
    if (Object.keys(update).length) PL.relayout(plot, update);
  }

  function draw() {
    const width = box.clientWidth;
    const figure = complete(props.value);
    explain(figure?.layout);
    if (!PL || !width) {
      drawnWidth = 0; // hidden: the ResizeObserver calls draw() again when the chart becomes visible
      return;
    }
    if (!figure?.data) {
      PL.purge(plot);
      drawnWidth = 0;
      return showNote(EMPTY);
    }
    const style = getComputedStyle(element);
    const { data, layout } = painted(figure, style);
    Object.assign(layout, { width, height: box.clientHeight, autosize: false, modebar: painted(MODEBAR, style) });
    layout.font = { family: style.fontFamily, ...layout.font };
    if (width < NARROW) for (const trace of data) trace.showscale = false;
    if (coarse) layout.dragmode = false; // on touch screens, dragging over the chart scrolls the page
    for (const name of labelled(layout)) {
      // Apply the same thinning as before; otherwise Plotly would treat the ticks as changed.
      if (plot.layout) Object.assign(layout[name], roomyTicks(name, figure.layout[name]));
    }
    drawnWidth = width;
    showNote("");
    PL.react(plot, data, layout, CONFIG).then(fitTicks);
    if (!plot.dataset.listening) {
      plot.dataset.listening = "yes";
      plot.on("plotly_relayout", (change) => Object.keys(change).some((key) => key.includes("range")) && fitTicks());
    }
  }

  watch("value", draw);
  if (FILL) {
    const [path, name] = FILL.split(":");
    const figures = await window.nanollm.load(path);
    complete = figures[name];
    figures.onChange(draw);
  }
  new ResizeObserver(() => box.clientWidth !== drawnWidth && draw()).observe(box);
  const themes = new MutationObserver(draw);
  for (const root of [document.documentElement, document.body]) {
    themes.observe(root, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
  showNote(props.value?.data ? "" : EMPTY);
  loadPlotly().then(
    (library) => {
      PL = library;
      draw();
    },
    () => showNote(sentencesOf("components").CHART_FAILED),
  );
}
