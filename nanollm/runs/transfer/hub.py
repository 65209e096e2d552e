"""Upload and download of runs as model repositories on the Hugging Face Hub.

A repository contains the files of an archive (archive.py) and a model card; downloads are validated like archives.
Access uses huggingface_hub with the token of `hf auth login` or HF_TOKEN; HF_ENDPOINT selects another server.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanollm.errors import InputError
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.runs.transfer.archive import MAX_BYTES, MAX_FILES, SAMPLE, archive_files, import_folder, is_name
from nanollm.train.checkpoint_file import FINAL_NAME


def push(run: Run, name: str) -> str:
    """Upload a run to the repository owner/name, created if it does not exist; returns its URL.

    Raises InputError if the run has no snapshot yet, or the Hub cannot be reached or denies access.
    """
    with tempfile.TemporaryDirectory() as folder, _hub_errors(name):
        from huggingface_hub import HfApi

        for file, content in archive_files(run):
            (Path(folder) / file).write_bytes(content)
        (Path(folder) / "README.md").write_text(model_card(run, name), encoding="utf-8")
        api = HfApi()
        address = api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload nano-llm run")
        return str(address)


def pull(store: RunStore, name: str) -> Run:
    """Download the run in the repository owner/name into the store, validated like import_().

    Raises InputError like import_(), and if the Hub cannot be reached or denies access.
    """
    with tempfile.TemporaryDirectory() as folder:
        with _hub_errors(name):
            from huggingface_hub import HfApi, snapshot_download

            files = HfApi().model_info(name, files_metadata=True).siblings or []
            known = [file for file in files if is_name(file.rfilename)]
            if len(known) > MAX_FILES or sum(file.size or 0 for file in known) > MAX_BYTES:
                raise InputError(f"{name!r} is too large for a nano-llm run: choose another repository.")
            if known:
                snapshot_download(name, local_dir=folder, allow_patterns=[file.rfilename for file in known])
        return import_folder(store, Path(folder))


def model_card(run: Run, name: str) -> str:
    """The model card (README.md) of the repository owner/name: model, results and usage."""
    model, status = run.model_config, run.status()
    best = next((snapshot for snapshot in run.snapshots() if snapshot.best), None)
    rows = {
        "parameters": f"{model.num_parameters:,}",
        "shape": f"{model.num_layers} layers of {model.embedding_dim}, {model.num_heads} heads, "
        f"feed-forward {model.ffn_hidden_dim}, window {model.context_length}",
        "text": f"{run.corpus.get('name')} ({run.corpus.get('characters', 0):,} characters, "
        f"{model.vocab_size} different ones, SHA-256 {str(run.corpus.get('sha256'))[:16]}…)",
        "steps": f"{status.step:,} of {status.num_steps:,}, {run.train_config.optimizer}, seed {run.train_config.seed}",
    }
    if best and best.val_loss is not None:
        rows["validation loss"] = (
            f"{best.val_loss:.4f} nats per character at step {best.step:,}, perplexity {math.exp(best.val_loss):.1f}"
        )
    if run.baselines and run.baselines.trigram is not None:
        rows["trigram baseline"] = f"{run.baselines.trigram:.4f} on the same text"
    table = "\n".join(f"| {row} | {value} |" for row, value in rows.items())
    final = FINAL_NAME if (run.folder / FINAL_NAME).exists() else run.snapshot().path.name
    return _CARD.format(title=run.title, name=name, table=table, sample=SAMPLE, checkpoint=final)


_CARD = """---
tags: [nano-llm]
pipeline_tag: text-generation
---

# {title}

A small character-level Transformer, trained with nano-llm. This repository contains all its snapshots and its loss
curve.

| | |
|---|---|
{table}

To import it into nano-llm: `python -m nanollm pull {name}`. To generate text with numpy only, download these two
files and run:

```bash
python {sample} {checkpoint} "The "
```
"""


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Convert errors of huggingface_hub to InputError."""
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except InputError:
        raise
    except HFValidationError as error:
        raise InputError(f"{name!r:.80} is not a valid repository name: use owner/name.") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".:")
        raise InputError(
            f"The Hugging Face Hub request failed ({why}): check the name, the network and your login (hf auth login)."
        ) from error
