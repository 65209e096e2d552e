"""Loss and attention charts: valid Plotly figures, escaped labels, bounded size."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.charts import base as charts
from nanollm.charts import loss as loss_chart
from nanollm.charts.attention import attention_figure
from playground.components.plotly_chart import TOKENS

HOSTILE = "<b onclick=alert(1)>&amp;</b>\n\t "


@dataclass
class FakeCurve:
    steps: list[int] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)
    elapsed: list[float] = field(init=False)
    eval_steps: list[int] = field(default_factory=list)
    val_loss: list[float | None] = field(default_factory=list)
    val_error: list[float] = field(default_factory=list)
    eval_elapsed: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.elapsed, self.eval_elapsed = [s / 32 for s in self.steps], [s / 32 for s in self.eval_steps]


@cache
def falling(num_steps: int, log_interval: int = 1, eval_interval: int = 1) -> FakeCurve:
    noise = random.Random(0)
    value = lambda step: 1.5 + 2.7 * math.exp(-step / 300) + noise.gauss(0, 0.05)  # noqa: E731
    steps, evals = range(0, num_steps, log_interval), range(0, num_steps, eval_interval)
    return FakeCurve(list(steps), [value(s) for s in steps], list(evals), [value(s) for s in evals])


def estimated(curve: FakeCurve) -> FakeCurve:
    return replace(curve, val_error=[0.0512] * len(curve.val_loss))


@dataclass
class FakeBaselines:
    unigram: float | None
    bigram: float | None
    trigram: float | None


AXES = [("steps", False), ("seconds", False), ("steps", True), ("seconds", True)]


def causal(size: int, seed: int = 0) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(size=(size, size))
    weights = np.tril(np.exp(scores))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize(("axis", "log"), AXES)
@pytest.mark.parametrize("overlaid", [0, 2, 30])
@pytest.mark.parametrize("num_steps", [0, 10, 1_000, 100_000])
def test_the_figure_stays_small_for_runs_of_any_length(num_steps, overlaid, axis, log):
    figure = loss_chart.loss_figure(
        estimated(falling(num_steps)),
        num_steps=10_000_000,
        overlays=[loss_chart.RunLine(falling(num_steps), f"small · learning rate 0.00{n}", n) for n in range(overlaid)],
        references=charts.references_of(71, FakeBaselines(3.1, 2.4, 2.0)),
        revision="20260101-000000-0000",
        axis=axis,
        log=log,
        palette=TOKENS,
    )
    assert len(json.dumps(figure, separators=(",", ":"))) <= 10_000


def test_a_loss_chart_is_a_valid_figure_with_labeled_axes():
    overlay = loss_chart.RunLine(falling(500, 10, 50), HOSTILE, slot=6)
    figure = loss_chart.loss_figure(
        falling(1000, 10, 50), overlays=[overlay], references=[charts.uniform_reference(65)], revision="run-1"
    )
    go.Figure(figure)  # raises if the figure is invalid
    assert figure["layout"]["xaxis"]["title"]["text"] == "steps"
    assert figure["layout"]["yaxis"]["title"]["text"] == "loss (nats per character)"
    assert figure["layout"]["uirevision"] == "run-1"
    train, smooth, val, _, second, reference = figure["data"]
    assert (train["opacity"], train["line"]["width"], val["line"]["width"]) == (0.35, 1, 2)
    assert len(smooth["x"]) <= loss_chart.SMOOTH_POINTS
    assert train["line"]["color"] == val["line"]["color"] == charts.LIGHT.runs[0]
    assert (second["line"]["dash"], second["line"]["color"]) == ("12px,3px", charts.LIGHT.runs[1])
    assert second["name"].startswith("&lt;b onclick")
    assert reference["y"] == [pytest.approx(math.log(65), abs=1e-3)] * 2
    assert "4.17" in figure["layout"]["annotations"][0]["text"]


@pytest.mark.parametrize(("axis", "log"), AXES)
def test_a_band_shows_two_standard_errors_of_an_estimated_loss(axis, log):
    curve = falling(1000, 10, 50)
    data = loss_chart.loss_figure(estimated(curve), axis=axis, log=log)["data"]
    (band,) = [trace for trace in data if trace.get("fill")]
    line = next(trace for trace in data if trace["name"] == "validation")
    assert data[0] is band and band["hoverinfo"] == "skip" and not band["showlegend"]
    half = len(band["x"]) // 2
    assert band["x"] == [*line["x"], *reversed(line["x"])]
    assert band["y"][:half] == pytest.approx([y + 0.1024 for y in line["y"]], abs=1e-3)
    assert band["y"][half:] == pytest.approx([y - 0.1024 for y in reversed(line["y"])], abs=1e-3)
    assert not any(trace.get("fill") for trace in loss_chart.loss_figure(curve, axis=axis, log=log)["data"])


def test_all_measured_baselines_are_drawn_with_an_explanation():
    known = charts.references_of(65, FakeBaselines(3.1, None, 2.0))
    assert [round(reference.loss, 2) for reference in known] == [4.17, 3.1, 2.0]
    assert charts.references_of(65, None) == [charts.uniform_reference(65)]
    labels = loss_chart.loss_figure(references=known, num_steps=100)["layout"]["annotations"]
    assert [label["y"] for label in labels] == [reference.loss for reference in known]
    assert all(label["hovertext"].endswith(".") for label in labels)


def test_labels_of_close_reference_lines_do_not_overlap():
    """On the chart of a diverged run one nat has half as many pixels."""
    close, curve = charts.references_of(75, FakeBaselines(3.0, 2.5, 2.1)), falling(1000, 10, 50)
    diverged = FakeCurve(curve.steps, [1e6] * len(curve.steps), curve.eval_steps, curve.val_loss)
    for shown, lifted in ((curve, 0), (diverged, 1)):
        figure = loss_chart.loss_figure(shown, references=close)
        labels, bounds = figure["layout"]["annotations"], figure["layout"]["yaxis"]["autorangeoptions"]
        assert sum("yshift" in label for label in labels) == lifted
        nat = loss_chart._pixels_per_nat(figure["data"], bounds)
        heights = sorted(label["y"] * nat + label.get("yshift", 0) for label in labels)
        assert all(b - a >= loss_chart.LABEL_HEIGHT - 1 for a, b in itertools.pairwise(heights))


def test_a_logarithmic_axis_writes_tick_labels_in_full():
    assert loss_chart.loss_figure(falling(100), log=True)["layout"]["xaxis"]["tickformat"] == ",~g"


@pytest.mark.parametrize(("axis", "log"), AXES)
def test_every_axis_shows_the_whole_run(axis, log):
    figure = loss_chart.loss_figure(falling(1000, 10, 50), num_steps=2000, axis=axis, log=log)
    go.Figure(figure)
    assert axis in figure["layout"]["xaxis"]["title"]["text"]
    xs = [x for trace in figure["data"] for x in trace["x"]]
    assert max(xs) == (990 if axis == "steps" else pytest.approx(990 / 32, abs=0.01))
    assert min(xs) > 0 if log else min(xs) == 0


def test_a_zoom_is_kept_per_axis():
    layouts = [loss_chart.loss_figure(axis=axis, log=log, revision="a run")["layout"] for axis, log in AXES]
    assert len({layout["xaxis"]["uirevision"] for layout in layouts}) == len(AXES)
    assert {layout["uirevision"] for layout in layouts} == {"a run"}


def test_without_a_curve_a_loss_chart_shows_the_references():
    figure = loss_chart.loss_figure(references=[charts.uniform_reference(65)], num_steps=1000)
    go.Figure(figure)
    assert [trace["x"] for trace in figure["data"]] == [[0, 1000]]
    assert not figure["layout"]["showlegend"]


def test_a_chart_sets_no_explicit_range():
    layout = loss_chart.loss_figure(falling(100), num_steps=1000)["layout"]
    assert "range" not in layout["xaxis"] and "range" not in layout["yaxis"]


def test_missing_and_infinite_losses_are_left_out():
    curve = FakeCurve([0, 10, 20, 30], [4.2, math.nan, None, 1e30], [0, 30], [4.2, None])
    figure = loss_chart.loss_figure(curve, num_steps=100)
    go.Figure(figure)
    json.dumps(figure, allow_nan=False)
    assert figure["data"][0]["x"] == [0, 30] and figure["data"][1]["x"] == [0]
    assert figure["layout"]["yaxis"]["autorangeoptions"]["clipmax"] == pytest.approx(8.4)


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_the_right_end_of_the_axis_contains_the_run_and_is_halved_at_most(last, num_steps):
    right = loss_chart._right_edge(last, num_steps)
    assert right >= last
    if 25 < last <= num_steps:
        assert right <= 2 * last + 1


def test_attention_heatmap_has_character_ticks_and_a_causal_mask():
    figure = attention_figure(causal(4), ["<", " ", "\n", "7"])
    go.Figure(figure)
    heatmap, layout = figure["data"][0], figure["layout"]
    for axis in (layout["xaxis"], layout["yaxis"]):
        assert axis["tickvals"] == [0, 1, 2, 3]
        assert axis["ticktext"] == ["&lt;", "␣", "⏎", "7"]
        assert axis["title"]["text"]
    assert [sum(cell is None for cell in row) for row in heatmap["z"]] == [3, 2, 1, 0]
    assert sum(heatmap["z"][3]) == pytest.approx(1, abs=0.01)
    assert heatmap["text"][3][0] == "7 → &lt;"
    assert heatmap["zmax"] == pytest.approx(1)


def test_the_first_rows_of_a_long_text_do_not_set_the_color_scale():
    weights = np.tril(np.ones((40, 40))) / np.arange(1, 41)[:, None]
    assert attention_figure(weights, list("a" * 40))["data"][0]["zmax"] == pytest.approx(0.2)


def test_a_run_that_diverges_at_once_leaves_the_axis_readable():
    curve = FakeCurve([4], [7e8], [0], [4.3])
    figure = loss_chart.loss_figure(curve, references=[charts.uniform_reference(75)])
    assert figure["layout"]["yaxis"]["autorangeoptions"]["clipmax"] < 10


def test_nan_weights_and_an_empty_text_give_valid_figures():
    go.Figure(attention_figure(np.zeros((0, 0)), []))
    figure = attention_figure(np.full((3, 3), np.nan), list("abc"))
    json.dumps(figure, allow_nan=False)


@given(st.text())
def test_labels_contain_no_markup(text):
    assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", charts.escape_markup(text))
    for character in text:
        assert charts.glyph(character).strip()


def test_write_html_loads_nothing_from_the_network(tmp_path):
    path = tmp_path / "loss.html"
    charts.write_html(loss_chart.loss_figure(falling(100, 10, 50), references=[charts.uniform_reference(65)]), path)
    page = path.read_text(encoding="utf-8")
    assert "loss (nats per character)" in page
    assert not re.search(r'<script[^>]+src="http', page)


def test_the_palettes_match_the_style_sheets():
    styles = Path(charts.__file__).parents[2] / "playground"
    blocks = "".join(sheet.read_text(encoding="utf-8") for sheet in styles.rglob("*.css")).lower()
    for palette in (charts.LIGHT, charts.DARK):
        for color in (palette.text, palette.quiet, palette.action, palette.attention_to, *palette.runs):
            assert color.lower() in blocks


def test_the_start_of_the_curve_is_in_view_on_repetitive_text():
    """With a uniform guess at 2.9 nats and trigram counts at 0.3."""
    references = charts.references_of(18, FakeBaselines(2.5, 0.84, 0.3))
    figure = loss_chart.loss_figure(falling(100, 10, 50), references=references, num_steps=100)
    assert figure["layout"]["yaxis"]["autorangeoptions"]["clipmax"] >= references[0].loss
