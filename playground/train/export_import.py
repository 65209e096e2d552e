"""A run as a file: downloaded from the page, and on a page of one's own brought in."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from nanollm.runs.transfer.archive import export, import_
from playground.components.text import line
from playground.context import Context
from playground.handlers import UNQUEUED, report_errors
from playground.selection import parse_selection

KEPT = "A run as one file: settings, curve and snapshots, to be kept or carried elsewhere. The text stays behind."
NO_RUN = "No run is chosen: choose one above, or start one."
NOT_YOURS = "This run is somebody else's: you can look at it, but not take it along."
NOT_HERE = "Runs are brought in only on a page of your own: start nano-llm on your machine."


@dataclass
class Parts:
    download: gr.Button
    ready: gr.DownloadButton
    bring: gr.UploadButton


def layout(ctx: Context) -> Parts:
    with gr.Accordion("Keep or bring a run", open=False, elem_classes="fold", elem_id="train-carry-fold"):
        line("train-carry-said", KEPT)
        with gr.Row(elem_classes="footer-row"):
            download = gr.Button("Download run", size="sm", elem_id="train-download")
            bring = gr.UploadButton(
                "Import a run", size="sm", file_types=[".zip"], elem_id="train-import", visible=not ctx.settings.public
            )
            ready = gr.DownloadButton(elem_id="train-downloaded", elem_classes="unseen")
    return Parts(download, ready, bring)


def wire(ctx: Context, parts: Parts) -> None:
    shelf = tempfile.TemporaryDirectory(prefix="nanollm-")  # gone with the page's process

    @report_errors
    @ctx.fair_queue.limit
    def download(selection: Any, request: gr.Request) -> str:
        """The chosen run as a zip; Gradio makes a copy of its own for the browser."""
        run_id, _ = parse_selection(selection)
        if run_id is None:
            raise InputError(NO_RUN)
        run = ctx.runs.get(run_id)
        if not ctx.may_change(run):
            raise InputError(NOT_YOURS)
        folder = tempfile.mkdtemp(prefix=f"{request.session_hash}-", dir=shelf.name)
        return str(export(run, Path(folder) / f"{run.id}.zip"))

    def clear(request: gr.Request) -> None:
        for folder in Path(shelf.name).glob(f"{request.session_hash}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    @report_errors
    def bring(path: Any) -> dict[str, Any]:
        if ctx.settings.public:
            raise InputError(NOT_HERE)
        run = import_(ctx.all_runs, str(path))
        ctx.catalogue.rows(fresh=True)
        return {"run": run.id, "step": None}

    hidden: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
    parts.download.click(download, ctx.selection, parts.ready, concurrency_id="carry", **hidden).success(
        None, js="() => document.getElementById('train-downloaded').click()", api_visibility="private"
    ).then(clear, None, None, **UNQUEUED)
    parts.bring.upload(bring, parts.bring, ctx.selection, concurrency_id="carry", **hidden)
