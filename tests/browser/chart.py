"""Read the loss chart in the browser, and zoom in."""

from __future__ import annotations

from typing import NamedTuple

from playwright.sync_api import Page as Tab

# Baselines span the whole axis, so the progress is read from the training line.
DRAWN = """() => {
  const plot = document.querySelector("#train-chart .chart-plot");
  const { xaxis, yaxis } = plot?._fullLayout ?? {};
  const training = plot?.data?.find((trace) => trace.name.startsWith("training"));
  return training?.x.length && xaxis ? [xaxis.range, yaxis.range, training.x.at(-1), plot.data.length] : null;
}"""
ZOOMED = """() => {
  const moved = Object.keys(document.querySelector("#train-chart .chart-plot")._fullLayout._preGUI);
  return ["xaxis", "yaxis"].every((axis) => moved.some((key) => key.startsWith(axis)));
}"""


class Drawn(NamedTuple):
    """The ranges of both axes, the last step of the training line, and the number of lines."""

    x_range: list[float]
    y_range: list[float]
    last: float
    lines: int


def drawn(tab: Tab) -> Drawn:
    """Wait until the chart shows a training line and return its state."""
    return Drawn(*tab.wait_for_function(DRAWN).json_value())


def zoom_in(tab: Tab) -> Drawn:
    """Drag a rectangle over the middle of the chart and return its new state."""
    area = tab.locator("#train-chart .nsewdrag")
    area.wait_for()
    box = area.bounding_box()
    assert box
    tab.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.2 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=5)
    tab.mouse.up()
    tab.wait_for_function(ZOOMED)
    return drawn(tab)
