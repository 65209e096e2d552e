"""The Hugging Face Hub as a place where machines meet: a run goes there as a model repository, and comes back as one.

What is sent and believed is a capsule's (capsule.py), file by file, with a card for people. huggingface_hub talks to
the Hub, with the access that `hf auth login` or HF_TOKEN gives it (HF_ENDPOINT names another one), and only when asked.
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
from nanollm.runs.transfer.archive import MAX_BYTES, MAX_FILES, SAMPLE, contents, import_folder, is_name
from nanollm.train.checkpoint import FINAL_NAME


def push(run: Run, name: str) -> str:
    """Put the run into the repository owner/name, made if it is not there; returns its address.

    Raises InputError if there is nothing to be looked at yet, or the Hub cannot be reached or refuses.
    """
    with tempfile.TemporaryDirectory() as folder, _hub_errors(name):
        from huggingface_hub import HfApi

        for file, content in contents(run):
            (Path(folder) / file).write_bytes(content)
        (Path(folder) / "README.md").write_text(card(run, name), encoding="utf-8")
        api = HfApi()
        address = api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="A run of nano-llm")
        return str(address)


def pull(store: RunStore, name: str) -> Run:
    """The run in the repository owner/name, checked as import_() checks and with the same ending.

    Raises InputError as import_() does, and if the Hub cannot be reached or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        with _hub_errors(name):
            from huggingface_hub import HfApi, snapshot_download

            files = HfApi().model_info(name, files_metadata=True).siblings or []
            known = [file for file in files if is_name(file.rfilename)]
            if len(known) > MAX_FILES or sum(file.size or 0 for file in known) > MAX_BYTES:
                raise InputError(f"{name!r} is too large for a run of nano-llm: choose another one.")
            if known:
                snapshot_download(name, local_dir=folder, allow_patterns=[file.rfilename for file in known])
        return import_folder(store, Path(folder))


def card(run: Run, name: str) -> str:
    """README.md of the repository owner/name: what the model is, what it achieves, and how to let it write."""
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
            f"{best.val_loss:.4f} nats a character at step {best.step:,}, "
            f"as if choosing among {math.exp(best.val_loss):.1f}"
        )
    if run.baselines and run.baselines.trigram is not None:
        rows["trigram counts"] = f"{run.baselines.trigram:.4f} on the same text"
    table = "\n".join(f"| {row} | {value} |" for row, value in rows.items())
    final = FINAL_NAME if (run.folder / FINAL_NAME).exists() else run.snapshot().path.name
    return _CARD.format(title=run.title, name=name, table=table, sample=SAMPLE, checkpoint=final)


_CARD = """---
tags: [nano-llm]
pipeline_tag: text-generation
---

# {title}

A small character-level Transformer, trained with nano-llm. All its snapshots and its curve are here.

| | |
|---|---|
{table}

To bring it into nano-llm: `python -m nanollm pull {name}`. To let it write with nothing but numpy, after
downloading two files:

```bash
python {sample} {checkpoint} "The "
```
"""


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except InputError:
        raise
    except HFValidationError as error:
        raise InputError(f"{name!r:.80} is no name of a repository: write owner/name.") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".:")
        raise InputError(
            f"The Hub did not do it ({why}): check the name, the network, and who you are (hf auth login)."
        ) from error
