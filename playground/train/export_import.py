"""Export of a run as a zip file and, on a local page, import of one."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.components.text import line
from playground.context import Context
from playground.handlers import QUEUED, UNQUEUED, report_errors
from playground.selection import parse_selection
from playground.train import sentences


@dataclass
class Parts:
    download: gr.Button
    file: gr.DownloadButton  # hidden; its click starts the browser's download
    upload: gr.UploadButton


def layout(ctx: Context) -> Parts:
    with gr.Accordion(sentences.EXPORT_IMPORT, open=False, elem_classes="fold", elem_id="train-carry-fold"):
        line("train-carry-said", sentences.EXPORT_HINT)
        with gr.Row(elem_classes="footer-row"):
            download = gr.Button(sentences.DOWNLOAD, size="sm", elem_id="train-download")
            upload = gr.UploadButton(
                sentences.IMPORT, size="sm", file_types=[".zip"], elem_id="train-import",
                visible=not ctx.settings.public,
            )  # fmt: skip
            file = gr.DownloadButton(elem_id="train-downloaded", elem_classes="unseen")
    return Parts(download, file, upload)


def wire(ctx: Context, parts: Parts) -> None:
    exports = tempfile.TemporaryDirectory(prefix="nanollm-")  # removed when the page's process ends

    @report_errors
    @ctx.fair_queue.limit
    def download(selection: Any, request: gr.Request) -> str:
        """Export the selected run. Gradio copies the file to its cache for the browser, then `clear` removes it."""
        from nanollm.runs.transfer.archive import export  # imports torch, which takes a second

        run_id, _ = parse_selection(selection)
        if run_id is None:
            raise InputError(sentences.NO_RUN)
        run = ctx.runs.get(run_id)
        if not ctx.may_change(run):
            raise InputError(sentences.NOT_YOURS)
        folder = tempfile.mkdtemp(prefix=f"{request.session_hash}-", dir=exports.name)
        return str(export(run, Path(folder) / f"{run.id}.zip"))

    def clear(request: gr.Request) -> None:
        for folder in Path(exports.name).glob(f"{request.session_hash}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    @report_errors
    def upload(path: Any) -> dict[str, Any]:
        from nanollm.runs.transfer.archive import import_

        if ctx.settings.public:
            raise InputError(sentences.NO_PUBLIC_IMPORT)
        run = import_(ctx.all_runs, str(path))
        ctx.catalogue.rows(fresh=True)
        return {"run": run.id, "step": None}

    parts.download.click(download, ctx.selection, parts.file, concurrency_id="carry", **QUEUED).success(
        None, js="() => document.getElementById('train-downloaded').click()", api_visibility="private"
    ).then(clear, None, None, **UNQUEUED)
    parts.upload.upload(upload, parts.upload, ctx.selection, concurrency_id="carry", **QUEUED)
