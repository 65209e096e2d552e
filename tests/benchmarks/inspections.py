"""Duration of inspection requests on the pretrained models: `python -m tests.benchmarks.inspections [--json]`.

Measures every view of the Attention tab on the first and on a repeated request, the ranking of all heads on as much
text as the page uses, and, if Chromium is installed, drawing the grid of 36 heads over 128 characters. The bundled text
serves as held-out text, because the findings saved with the pretrained models would answer without computing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from playwright.sync_api import sync_playwright

from nanollm.explain.ablation import RANK_CHARACTERS, rank_heads
from playground.attention.sentences import EXAMPLE_TEXT
from playground.attention.views import ablation, attention_map, head_types, logit_lens, model_overview
from playground.context import Context
from playground.services.inspections import View
from playground.settings import Settings
from tests.browser.visit import wait_for_script
from tests.chromium import ARGUMENTS
from tests.conftest import ROOT
from tests.serving import serve

MODELS = ("nano", "small", "medium")
BUNDLED = ROOT / "data" / "raw" / "sample.txt"
LIMITS = {"ranking": 10.0, "grid": 0.05}  # seconds
VIEW = 1.0  # seconds, for all other views
OFF = ["L1·H1", "L2·FF"]
FRAME = "async () => (await window.nanollm?.load('attention/inspection_store.js'))?.inspection.state.frame"
GRID = """async () => {
    const { inspection } = await nanollm.load("attention/inspection_store.js");
    const [layers, heads, size] = [6, 6, 128];
    const roots = Uint8Array.from({ length: (layers * heads * size * (size + 1)) / 2 }, () => 256 * Math.random());
    const [characters, brightest] = [Array(size).fill("a"), Array(layers * heads).fill(1)];
    inspection.set({ frame: { stamp: "grid", layers, heads, size, roots, characters, brightest } });
    return Number(document.querySelector(".grid-canvas").dataset.milliseconds) / 1000;
}"""


def measure() -> Iterator[tuple[str, str, float, float]]:
    """Yields model, view, and the seconds of the first and of the repeated request."""
    with tempfile.TemporaryDirectory() as home:
        shipped = Path(home) / "checkpoints" / "pretrained"
        shutil.copytree(ROOT / "checkpoints" / "pretrained", shipped)
        for path in shipped.rglob("findings_*"):
            path.unlink()
        ctx = Context.open(Settings(home=Path(home)))
        with gr.Blocks():
            layouts = {
                module: module.layout(ctx)
                for module in (attention_map, ablation, head_types, logit_lens, model_overview)
            }
        for model in MODELS:
            for name, ask in _views(ctx, layouts, _view(ctx, model)):
                yield model, name, _seconds(ask), _seconds(ask)
        if chromium := shutil.which("chromium"):
            seconds = _drawn(Path(home), chromium)
            yield "6 × 6", "grid", seconds[0], statistics.median(seconds[1:])


def _view(ctx: Context, model: str) -> View:
    """The last snapshot of a model with the example text, and the bundled text as held-out text."""
    view = ctx.inspections.view({"run": f"pretrained-{model}", "step": None}, EXAMPLE_TEXT)
    text, tokenizer = BUNDLED.read_text(encoding="utf-8"), view.loaded.tokenizer
    unknown = set(tokenizer.unknown(text))
    ids = tokenizer.encode("".join(character for character in text if character not in unknown))
    ctx.inspections._held_out.put(view.run.id, ids)
    return view


def _views(ctx: Context, layouts: dict[Any, Any], view: View) -> Iterator[tuple[str, Callable[[], object]]]:
    head = {"layer": 1, "head": 1}
    arguments: dict[Any, tuple[Any, ...]] = {
        attention_map: (),
        ablation: (OFF, "mean", 42),
        head_types: (),
        logit_lens: (None, None),
    }
    yield "frame", lambda: ctx.inspections.frame(view)
    for module, values in arguments.items():
        yield module.__name__.rsplit(".", 1)[-1], lambda m=module, v=values: m.show(ctx, layouts[m], view, head, *v)
    yield "map", lambda: model_overview.show_map(ctx, layouts[model_overview], view)
    yield "meter", lambda: model_overview.show_context(ctx, layouts[model_overview], view)
    ids, means = ctx.inspections.judged_by(view)[0], ctx.inspections.means(view)[0]
    assert len(ids) > RANK_CHARACTERS, "the page uses this many characters"
    yield "ranking", lambda: list(rank_heads(view.loaded.model, ids, means))


def _drawn(home: Path, chromium: str) -> list[float]:
    """Seconds for each of six drawings of the grid in Chromium."""
    with sync_playwright() as playwright, serve(home) as page:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(f"{page.address}?tab=attention")
        wait_for_script(
            tab, "async () => !!(await window.nanollm?.load('attention/inspection_store.js'))?.inspection.state.frame"
        )
        seconds = [float(tab.evaluate(GRID)) for _ in range(6)]
        browser.close()
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    as_json, found = parser.parse_args().json, []
    for model, name, first, again in measure():
        found.append({"model": model, "view": name, "first": first, "again": again})
        late = "" if max(first, again) <= LIMITS.get(name, VIEW) else "  late"
        if not as_json:
            print(f"{model:8}{name:12}{first:8.3f} s{again:8.3f} s{late}", flush=True)
    if as_json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
