"""The page put together: header, runs on the left, tabs with the time bar under them, and what they share."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from typing import Any

import gradio as gr

from playground.api.endpoints import publish
from playground.api.inspection import publish_inspection
from playground.attention import tab as attention
from playground.compare import tab as compare
from playground.components.factory import browser_call
from playground.components.plotly_chart import plotly_route
from playground.context import TABS, Context
from playground.corpus import tab as corpus
from playground.handlers import MULTIPLE, UNQUEUED, report_errors, warn
from playground.public.disk_quota import DiskQuota
from playground.public.request_filter import count_queued, filter_lifespan
from playground.sample import tab as sample
from playground.selection import parse_selection
from playground.services.browser_constants import as_script_element
from playground.services.catalogue import changed_rows
from playground.services.gradio_internals import event_data
from playground.services.static_files import asset, module_names, module_root, module_routes
from playground.settings import Settings
from playground.shell.feed import feed
from playground.shell.guide import guide
from playground.shell.header import header
from playground.shell.run_list import run_list
from playground.shell.time_bar import time_bar
from playground.train import tab as train

TITLE = "nano-llm"
GONE = "This run is no longer here: choose another one, or train a new one."
MODULES = {"corpus": corpus, "train": train, "sample": sample, "attention": attention, "compare": compare}
NOTHING = {"run": None, "step": None}
# Whoever clicked a tab before the first answer stays there: only the browser knows that by then.
LAND = browser_call("shell/landing.js", "land", "tab", returns=True)
OPENED = browser_call("shell/page_state.js", "opened", "tab")


def build(ctx: Context) -> gr.Blocks:
    """The whole page over the services of `ctx`; launch it with `launch_options`."""
    with gr.Blocks(
        title=TITLE, fill_width=True, delete_cache=ctx.settings.delete_cache, analytics_enabled=False
    ) as demo:
        ctx.demo = demo
        ctx.tab = gr.Textbox(container=False, elem_id="open-tab", elem_classes="unseen")
        rows = feed()
        header()
        with gr.Row(elem_id="frame"):
            with gr.Column(elem_id="sidebar", scale=0, min_width=0):
                runs = run_list()
            with gr.Column(elem_id="content", scale=1, min_width=0):
                ctx.selection = time_bar()
                guide()
                with gr.Tabs(elem_id="tabs", overflow_behavior="wrap", selected="sample") as ctx.tabs:
                    opened, parts = {}, {}
                    for name in TABS:
                        with gr.Tab(name.capitalize(), id=name, elem_id=f"tab-{name}") as opened[name]:
                            parts[name] = MODULES[name].layout(ctx)
        for name in TABS:
            opened[name].select(None, None, ctx.tab, js=f"() => '{name}'", api_visibility="private")
        publish(ctx)  # first, so that the endpoints get their names
        publish_inspection(ctx)
        # The order matters: listeners to one trigger run one after another, and a tab's may take its time.
        _restore(ctx, rows, parts)
        _wire_tab(ctx)
        for name in TABS:
            MODULES[name].wire(ctx, parts[name], parts)
        _wire_runs(ctx, rows, runs)
    # Where strangers come, nobody walks round the queue.
    return demo.queue(max_size=ctx.settings.queue_size, api_open=not ctx.settings.public)


def launch_options(settings: Settings, demo: gr.Blocks) -> dict[str, Any]:
    """Everything demo.launch() is given: the settings' limits, the gate before it all, and the looks."""
    routes = {**module_routes(), **plotly_route()}
    return settings.launch_options() | dict(
        app_kwargs={"lifespan": filter_lifespan(settings, count_queued(demo), routes)},
        theme=_theme(),
        head=f"<style>\n{_styles()}\n</style>\n{_scripts(settings)}",
    )


def serve(settings: Settings) -> None:
    """Start the page, say where it is, and stay until interrupted or terminated.

    Training goes on without it; where the machine is shared, it is saved instead, and goes on with the next start.
    """
    ctx = Context.open(settings)
    disk_quota = _disk_quota(ctx) if settings.public else None
    demo = build(ctx)
    ctx.launcher.watch()
    if disk_quota:
        os.environ.setdefault("GRADIO_TEMP_DIR", str(settings.uploads))
        disk_quota.watch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings, demo))
        after = "is saved" if settings.public else "goes on"
        print(f"nano-llm is at {address}  (Ctrl+C ends it; training {after})", flush=True)
        demo.block_thread()
    finally:
        ctx.step_times.stop()
        if disk_quota:
            disk_quota.close()
            ctx.launcher.suspend()
        ctx.launcher.close()
        demo.close(verbose=False)


def _disk_quota(ctx: Context) -> DiskQuota:
    """The disk quota of a public page, whose runs are a VisitorRunStore."""
    runs: Any = ctx.runs
    return DiskQuota(ctx.all_runs, ctx.all_corpora, ctx.settings.uploads, runs.seconds_since_viewed)


def _restore(ctx: Context, rows: gr.HTML, parts: dict[str, Any]) -> None:
    """Opening the page: the address says what to show, else the newest run's last snapshot in Sample."""

    @report_errors
    def restore(request: gr.Request) -> tuple[Any, ...]:
        query = request.query_params
        known = ctx.catalogue.rows(fresh=True)
        selection = NOTHING
        if query.get("run"):
            if any(row["id"] == query["run"] for row in known):
                selection = {"run": query["run"], "step": _step(query)}
            else:
                warn(GONE)
        tab = query.get("tab")
        if tab not in TABS:
            tab = "sample" if known else "corpus"
        prompt = query.get("prompt", sample.PROMPT)[:1000]
        return known, selection, prompt, prompt, tab

    landing = gr.Textbox(container=False, elem_classes="unseen")
    ctx.demo.load(
        restore, None, [rows, ctx.selection, parts["sample"].prompt, parts["compare"].prompt, landing],
        api_visibility="private", show_progress="hidden",
    ).success(None, landing, [ctx.tabs, ctx.tab], js=LAND, api_visibility="private")  # fmt: skip


def _step(query: Any) -> int | None:
    step = query.get("step", "")
    return int(step) if step.isdecimal() and len(step) < 12 else None


def _wire_tab(ctx: Context) -> None:
    """Scripts and style sheets follow the open tab."""
    ctx.tab.change(None, ctx.tab, None, js=OPENED, api_visibility="private", **MULTIPLE)


def _wire_runs(ctx: Context, rows: gr.HTML, runs: gr.HTML) -> None:
    """The sidebar's buttons, and the clock that brings news of all runs."""
    seen = gr.State({"mark": "", "rows": []})  # what was sent last; it has arrived if the browser has the same mark
    mark = gr.Textbox(container=False, elem_classes="unseen")

    def tell(seen: dict[str, Any], mark: str) -> Any:
        known = ctx.catalogue.rows()
        now = hashlib.sha1(json.dumps(known).encode(), usedforsecurity=False).hexdigest()
        before = seen["rows"] if seen["mark"] == mark else []
        return gr.skip() if now == mark else (changed_rows(before, known), {"mark": now, "rows": known}, now)

    gr.Timer(1).tick(tell, [seen, mark], [rows, seen, mark], **UNQUEUED)

    def pick(event: gr.EventData) -> dict[str, Any]:
        return {"run": parse_selection(event_data(event))[0], "step": None}

    @report_errors
    def rename(event: gr.EventData) -> list[dict[str, Any]]:
        ctx.runs.rename(parse_selection(event_data(event))[0], str(event_data(event).get("title", "")))
        return ctx.catalogue.rows(fresh=True)

    @report_errors
    def remove(selection: Any, event: gr.EventData) -> tuple[Any, Any]:
        run, _ = parse_selection(event_data(event))
        ctx.runs.delete(run)
        return ctx.catalogue.rows(fresh=True), NOTHING if parse_selection(selection)[0] == run else gr.skip()

    runs.pick(pick, None, ctx.selection, **UNQUEUED)
    queued: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
    runs.rename(rename, None, rows, **queued)
    runs.remove(remove, ctx.selection, [rows, ctx.selection], **queued)


def _theme() -> gr.themes.Base:
    """Gradio's plainest theme without fonts from elsewhere; tokens.css does the rest through its variables."""
    return gr.themes.Base(
        font=_families("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"),
        font_mono=_families("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace"),
    )


def _styles() -> str:
    """Our style sheets. launch(css=…) would put an ancestor before every selector and break those inside @media.

    Nested in the root, our rules outweigh those that Gradio's components bring along.
    """
    sheets = (
        "shell/styles/style.css",
        "corpus/corpus.css",
        "shell/styles/views.css",
        "sample/sample.css",
        "train/train.css",
        "attention/attention.css",
        "compare/compare.css",
    )
    rules = "\n".join(asset(name) for name in sheets)
    return f"{asset('shell/styles/tokens.css')}\n:root:root:root {{\n{rules}\n}}"


def _scripts(settings: Settings) -> str:
    """The bootstrap that loads modules, with a preload of each; before all, who asks, where that matters."""
    visitor = [asset("public/visitor.js")] if settings.public else []
    bootstrap = asset("shell/bootstrap.js").replace("MODULE_ROOT", module_root())
    inline = "\n".join([*visitor, bootstrap])
    preloads = "\n".join(f'<link rel="modulepreload" href="{module_root()}{name}">' for name in module_names())
    return f"{as_script_element()}\n{preloads}\n<script>\n{inline}\n</script>"


def _families(*names: str) -> list[gr.themes.Font]:
    """Fonts of the reader's own machine. Plain strings would make Gradio look for font files it does not have."""
    return [gr.themes.Font(name) for name in names]
