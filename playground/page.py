"""Assembly of the page: header, run list, time bar, tabs, and the events that connect them.

A tab is a module with `layout(ctx)`, which creates its components, and `wire(ctx, parts, page)`, which connects them.
Moving the time bar changes the selection store of the browser, to which the scripts of the tabs subscribe, and then
`ctx.selection`, which Python receives with every request.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from threading import Thread
from typing import Any

import gradio as gr

from playground.api.endpoints import publish
from playground.api.inspection import publish_inspection
from playground.attention import tab as attention
from playground.browser.constants import as_script_element
from playground.browser.static_files import asset, module_names, module_root, module_routes
from playground.compare import tab as compare
from playground.components.factory import browser_call
from playground.components.plotly_chart import plotly_route
from playground.context import TABS, Context
from playground.corpus import tab as corpus
from playground.handlers import MULTIPLE, QUEUED, UNQUEUED, report_errors, warn
from playground.public.disk_quota import DiskQuota
from playground.public.request_filter import count_queued, filter_lifespan
from playground.sample import tab as sample
from playground.selection import parse_selection
from playground.services.catalogue import changed_rows
from playground.services.gradio_internals import event_data
from playground.settings import Settings
from playground.shell import sentences
from playground.shell.components import guide, header, run_list, run_rows, time_bar
from playground.train import tab as train

MODULES = {"corpus": corpus, "train": train, "sample": sample, "attention": attention, "compare": compare}
NO_SELECTION = {"run": None, "step": None}
# Opens the restored tab, unless the user has clicked a tab meanwhile, which only the browser knows.
LAND = browser_call("shell/startup.js", "land", "tab", returns=True)
OPENED = browser_call("shell/page_state.js", "opened", "tab")


def build(ctx: Context) -> gr.Blocks:
    """Build the page for the services of `ctx`. Launch it with `launch_options`."""
    with gr.Blocks(
        title=sentences.TITLE, fill_width=True, delete_cache=ctx.settings.delete_cache, analytics_enabled=False
    ) as demo:
        ctx.demo = demo
        ctx.tab = gr.Textbox(container=False, elem_id="open-tab", elem_classes="unseen")
        rows = run_rows()
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
        publish(ctx)  # before the events, so that no event takes an endpoint's name
        publish_inspection(ctx)
        # The order matters: listeners to one trigger run one after another, and those of a tab may be slow.
        _restore(ctx, rows, parts)
        _wire_tab(ctx)
        for name in TABS:
            MODULES[name].wire(ctx, parts[name], parts)
        _wire_runs(ctx, rows, runs)
    # On a public page, requests may not bypass the queue.
    return demo.queue(max_size=ctx.settings.queue_size, api_open=not ctx.settings.public)


def launch_options(settings: Settings, demo: gr.Blocks) -> dict[str, Any]:
    """Return the arguments of demo.launch(): limits, request filter, theme, styles and scripts."""
    routes = {**module_routes(), **plotly_route()}
    return settings.launch_options() | dict(
        app_kwargs={"lifespan": filter_lifespan(settings, count_queued(demo), routes)},
        theme=_theme(),
        head=f"<style>\n{_styles()}\n</style>\n{_scripts(settings)}",
    )


def serve(settings: Settings) -> None:
    """Start the page, print its address, and serve it until interrupted or terminated.

    On a local page a running training continues afterwards. On a public page it is saved; the next start
    resumes it.
    """
    ctx = Context.open(settings)
    disk_quota = _disk_quota(ctx) if settings.public else None
    if disk_quota:
        # Before build(): Gradio's components read it when they are constructed.
        os.environ.setdefault("GRADIO_TEMP_DIR", str(settings.uploads))
    demo = build(ctx)
    ctx.launcher.watch()
    if disk_quota:
        disk_quota.watch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings, demo))
        training = sentences.TRAINING_SAVED if settings.public else sentences.TRAINING_CONTINUES
        print(sentences.SERVING.format(url=url, training=training), flush=True)
        Thread(target=_import_torch, daemon=True).start()
        demo.block_thread()
    finally:
        ctx.step_times.stop()
        if disk_quota:
            disk_quota.close()
            ctx.launcher.suspend()
        ctx.launcher.close()
        demo.close(verbose=False)


def _import_torch() -> None:
    """Import PyTorch, so that the first request that needs it does not wait for it. The page answers meanwhile."""
    from playground.services import inspections as inspections


def _disk_quota(ctx: Context) -> DiskQuota:
    """The disk quota of a public page, whose runs are a VisitorRunStore."""
    runs: Any = ctx.runs
    return DiskQuota(ctx.all_runs, ctx.all_corpora, ctx.settings.uploads, runs.seconds_since_viewed)


def _restore(ctx: Context, rows: gr.HTML, parts: dict[str, Any]) -> None:
    """Restore the view that the URL names, by default Sample with the last snapshot of the newest run."""

    @report_errors
    def restore(request: gr.Request) -> tuple[Any, ...]:
        query = request.query_params
        known = ctx.catalogue.rows(fresh=True)
        selection = NO_SELECTION
        if query.get("run"):
            if any(row["id"] == query["run"] for row in known):
                selection = {"run": query["run"], "step": _step(query)}
            else:
                warn(sentences.RUN_GONE)
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
    """Wire the run list, and the timer that sends changed rows to the browser every second."""
    seen = gr.State({"mark": "", "rows": []})  # what was sent last; it arrived if the browser has the same mark
    mark = gr.Textbox(container=False, elem_classes="unseen")

    def update(seen: dict[str, Any], mark: str) -> Any:
        current = ctx.catalogue.rows()
        now = hashlib.sha1(json.dumps(current).encode(), usedforsecurity=False).hexdigest()
        before = seen["rows"] if seen["mark"] == mark else []
        return gr.skip() if now == mark else (changed_rows(before, current), {"mark": now, "rows": current}, now)

    gr.Timer(1).tick(update, [seen, mark], [rows, seen, mark], **UNQUEUED)

    def pick(event: gr.EventData) -> dict[str, Any]:
        return {"run": parse_selection(event_data(event))[0], "step": None}

    @report_errors
    def rename(event: gr.EventData) -> list[dict[str, Any]]:
        data = event_data(event)
        ctx.runs.rename(str(data.get("run")), str(data.get("title", "")))
        return ctx.catalogue.rows(fresh=True)

    @report_errors
    def remove(selection: Any, event: gr.EventData) -> tuple[Any, Any]:
        run = str(event_data(event).get("run"))
        ctx.runs.delete(run)
        return ctx.catalogue.rows(fresh=True), NO_SELECTION if parse_selection(selection)[0] == run else gr.skip()

    runs.pick(pick, None, ctx.selection, **UNQUEUED)
    runs.rename(rename, None, rows, **QUEUED)
    runs.remove(remove, ctx.selection, [rows, ctx.selection], **QUEUED)


def _theme() -> gr.themes.Base:
    """Gradio's base theme with system fonts only; tokens.css sets its variables."""
    return gr.themes.Base(
        font=_families("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"),
        font_mono=_families("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace"),
    )


def _styles() -> str:
    """The page's style sheets. They are not passed as launch(css=…), which prefixes every selector and breaks @media.

    The rules are nested in :root:root:root, so that they take precedence over those of Gradio's components.
    """
    sheets = (
        "shell/styles/style.css",
        "corpus/corpus.css",
        "sample/sample.css",
        "train/train.css",
        "attention/attention.css",
        "compare/compare.css",
    )
    rules = "\n".join(asset(name) for name in sheets)
    return f"{asset('shell/styles/tokens.css')}\n:root:root:root {{\n{rules}\n}}"


def _scripts(settings: Settings) -> str:
    """The script that loads modules and a preload link for each; on a public page, first the visitor's token."""
    visitor = [asset("public/visitor.js")] if settings.public else []
    bootstrap = asset("shell/bootstrap.js").replace("MODULE_ROOT", module_root())
    inline = "\n".join([*visitor, bootstrap])
    preloads = "\n".join(f'<link rel="modulepreload" href="{module_root()}{name}">' for name in module_names())
    return f"{as_script_element()}\n{preloads}\n<script>\n{inline}\n</script>"


def _families(*names: str) -> list[gr.themes.Font]:
    """Installed fonts. For plain strings Gradio would look for font files that it does not have."""
    return [gr.themes.Font(name) for name in names]
