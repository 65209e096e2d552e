"""Writes tests/compat/files with the checked-out version of nano-llm: `python -m tests.compat.make_fixtures`.

Runs only with the code of version 0.1.0, commit fa6a1e1, and imports its modules by the names they had then. It is not
a test: neither pytest nor basedpyright imports it. Do not run it with a later version: the files are there to test that
later versions still read what 0.1.0 wrote, see README.md.
"""
# ruff: noqa: I001 (modules that no longer exist are sorted as third-party)

from __future__ import annotations

import json
import math
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from nanollm.capsule import export
from nanollm.checkpoint import load_model, read_tensors, save_checkpoint, write_tensors
from nanollm.corpus import CorpusStore
from nanollm.evaluation import evaluate
from nanollm.events import Step
from nanollm.experiments.results import write_results
from nanollm.experiments.scaling import Experiment, Member, Plan
from nanollm.inference.generate import generate_text
from nanollm.runs.record import Run
from nanollm.runs.store import CorpusRef, RunStore
from nanollm.runs.worker import work

HERE = Path(__file__).parent / "files"
TEXT = "the cat sat on the mat, and the rat ran.\n" * 30  # easy to predict: clear margins
TINY = {
    **{"embedding_dim": 8, "num_layers": 1, "ffn_hidden_dim": 12, "num_heads": 2, "context_length": 8},
    **{"batch_size": 4, "num_steps": 40, "learning_rate": 3e-2, "warmup_steps": 5, "precision": "float32"},
    **{"threads": 1, "log_interval": 5, "eval_interval": 10, "checkpoint_interval": 15},
}
# Settings that differ from their defaults, including those that later versions rename.
INTERRUPTED = {
    "interrupted-adamw": {"final_learning_rate": 0.25, "similarity": "cosine", "dropout": 0.1},
    "interrupted-muon": {"final_learning_rate": 0.4, "optimizer": "muon", "position": "learned"},
}
FEW = {"log_interval": 25, "eval_interval": 100, "checkpoint_interval": 1000}  # keeps metrics.jsonl short
FINISHED = {"num_steps": 300, "final_learning_rate": 0.05, "similarity": "cosine", **FEW}
PAUSED_AT = 20
MARGIN = 0.5  # difference of the top two logits that is larger than rounding differences between CPUs


def main() -> None:
    torch.set_num_threads(1)
    shutil.rmtree(HERE, ignore_errors=True)
    (HERE / "runs").mkdir(parents=True)
    (HERE / "corpus.txt").write_bytes(TEXT.encode())
    with tempfile.TemporaryDirectory() as place:
        expected = write_all(Path(place), TEXT)
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    require_no_local_names()


def write_all(place: Path, text: str) -> dict[str, Any]:
    corpora, store = CorpusStore(place / "corpora"), RunStore(place / "store")
    corpus = corpora.add_text(text, "corpus.txt")
    expected: dict[str, Any] = {"resumed": {}}

    for name, settings in INTERRUPTED.items():
        run = store.create(settings={**TINY, **settings}, corpus=corpus, title=name)
        work(run, corpora.root, lambda event, run=run: pause_at(run, event, PAUSED_AT))
        assert run.status().state == "paused" and run.status().step == PAUSED_AT, run.status()
        keep(run, name, older=name == "interrupted-muon")
        assert work(run, corpora.root).state == "completed"
        expected["resumed"][name] = {
            "settings": {**TINY, **settings},
            "from_step": PAUSED_AT,
            "step": run.status().step,
            "losses": [event.loss for event in run.events() if isinstance(event, Step)],
            "learning_rates": [event.learning_rate for event in run.events() if isinstance(event, Step)],
            "val_loss": run.curve().val_loss[-1],
        }
    resume = next((HERE / "runs" / "interrupted-adamw").glob("resume_*.safetensors"))
    tensors, facts = read_tensors(resume)
    del tensors["grad_norm_sum"], facts["format"]  # as in files written before these fields were added
    write_tensors(HERE / "resume_without_grad_norm.safetensors", tensors, facts)

    run = store.create(settings={**TINY, **FINISHED}, corpus=corpus, title="finished")
    assert work(run, corpora.root).state == "completed"
    keep(run, "finished")
    kept = RunStore(HERE / "runs").get("finished")
    export(kept, HERE / "run.zip")
    final = kept.snapshot().path
    shutil.copyfile(final, HERE / "checkpoint.safetensors")
    loaded = load_model(final)
    save_checkpoint(
        HERE / "checkpoint_half.safetensors", loaded.model, step=loaded.info.step, tokenizer=loaded.tokenizer,
        train_config=loaded.info.train_config, half=True,
    )  # fmt: skip
    clear = max((greedy(final, text[at : at + TINY["context_length"]]) for at in range(41)), key=len)
    prompt = clear[: TINY["context_length"]]
    ids = torch.tensor([loaded.tokenizer.encode(prompt).tolist()])
    expected["finished"] = {
        "settings": {**TINY, **FINISHED},
        "step": kept.status().step,
        "val_loss": kept.curve().val_loss[-1],
        "snapshots": [snapshot.step for snapshot in kept.snapshots()],
        "loss_on_corpus": evaluate(loaded.model, loaded.tokenizer.encode(text)),
        "logits": [round(float(value), 5) for value in loaded.model(ids)[0, -1].detach()],
        "prompt": prompt,
        "greedy": clear,
    }
    expected["experiment"] = experiment(place, corpora, corpus)
    return expected


def pause_at(run: Run, event: object, step: int) -> None:
    if isinstance(event, Step) and event.step == step:
        (run.folder / "control" / "pause").touch()
        time.sleep(0.2)  # until the worker checks for requests again


def keep(run: Run, name: str, *, older: bool = False) -> None:
    """Copy a run's files except those of its process, with the last and the best snapshot only.

    `older`: remove the fields that were added to the records during the development of version 0.1.0.
    """
    target = HERE / "runs" / name
    snapshots = run.snapshots()
    kept = {snapshots[-1].path.name, *(snapshot.path.name for snapshot in snapshots if snapshot.best)}
    kept |= {path.name.replace("checkpoint_", "means_") for path in map(Path, kept)}
    kept |= {"run.json", "status.json", "baselines.json", "checkpoint_final.safetensors"}
    if run.status().state == "paused":
        kept |= {path.name for path in run.resume_files()[:1]}
    target.mkdir()
    for path in run.folder.iterdir():
        if path.name in kept:
            shutil.copyfile(path, target / path.name)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if "machine" in line:
            line["machine"] = ""
        for new in ("elapsed", "machine", "world_size") if older else ():
            line.pop(new, None)
    (target / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def greedy(checkpoint: Path, prompt: str) -> str:
    """The prompt and its greedy continuation, up to the first character whose logit margin is below MARGIN."""
    loaded, text = load_model(checkpoint), prompt
    while len(text) < 60:
        window = text[-loaded.info.model_config.context_length :]
        logits = loaded.model(torch.tensor([loaded.tokenizer.encode(window).tolist()]))[0, -1]
        first, second = logits.topk(2).values.tolist()
        if first - second < MARGIN:
            break
        text = generate_text(loaded.model, loaded.tokenizer, text, max_length=1, top_k=1)
    return text


def experiment(place: Path, corpora: CorpusStore, corpus: Any) -> dict[str, Any]:
    """Two seeds of one preset. The models are smaller than the preset, to keep the files small."""
    plan = Plan(("nano",), 0.05, (1, 2))
    store, members = RunStore(place / "experiment"), []
    for seed in plan.seeds:
        settings = {**TINY, **FEW, "seed": seed, "num_steps": 20}
        run = store.create(settings=settings, corpus=corpus, preset="nano", title=plan.title("nano", seed, corpus.name))
        assert work(run, corpora.root).state == "completed"
        members.append(Member("nano", seed, f"nano-seed-{seed}"))
        keep(run, members[-1].run)
    text = CorpusRef(corpus.name, corpus.sha256, corpus.characters, corpus.vocab_size)
    made = Experiment(HERE / "runs" / "experiment", time.time(), text, plan, members, RunStore(HERE / "runs"))
    made.save()
    write_results(made, {})
    losses = [run.curve().val_loss[-1] for run in made.runs()]
    assert made.finished() and all(map(math.isfinite, losses))
    return {
        "presets": list(plan.presets), "num_steps_scale": plan.num_steps_scale, "seeds": list(plan.seeds),
        "runs": [member.run for member in members], "val_losses": losses, "steps": 20,
    }  # fmt: skip


def require_no_local_names() -> None:
    """Check that the files contain neither the host name nor local paths, and print their total size."""
    words = (f'"{socket.gethostname()}"', f"{Path.home()}/", tempfile.gettempdir(), str(Path(__file__).parents[2]))
    files = {path: path.read_bytes() for path in sorted(HERE.rglob("*")) if path.is_file()}
    for path, content in files.items():
        assert not [word for word in words if word.encode() in content], path
    print(f"{sum(map(len, files.values())) / 1000:.0f} kB in {HERE.name}")


if __name__ == "__main__":
    main()
