"""The pretrained models: built from finished runs, measured on the stored files, and read-only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.cli import pretrained as command
from nanollm.config import PRESETS, ModelConfig, make_configs
from nanollm.data import builtin
from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.errors import InputError
from nanollm.experiments import pretrained
from nanollm.experiments.pretrained import MAX_BYTES, SNAPSHOT_COUNTS, build_pretrained, thin
from nanollm.explain.ablation import load_means, measure_means
from nanollm.runs import run_files
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.training import snapshot_sample
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.train.checkpoint import load_model, read_tensors, save_checkpoint
from nanollm.train.events import Checkpoint, Eval, Resume, Sample
from nanollm.train.loop import evaluate
from playground.services.catalogue import Catalogue
from tests.conftest import ROOT, random_model
from tests.run_folders import make

SHIPPED = ROOT / "checkpoints" / run_files.PRETRAINED
TINY = {"embedding_dim": 16, "context_length": 16, "batch_size": 4, "warmup_steps": 1}
QUICK = {"threads": 1, "precision": "float32", "eval_interval": 10}
STEPS = {"nano": 60, "small": 30}
ACTUAL_COUNTS = dict(SNAPSHOT_COUNTS)  # the fixture keeps fewer


class PretrainedFixture:
    """A store with a user's run, two pretrained models, and their source runs."""

    def __init__(self, home: Path) -> None:
        self.corpora = CorpusStore(home / "corpora")
        self.corpus = self.corpora.add_text("the cat sat on the mat, and the rat ran.\n" * 60, "cats.txt")
        self.source_store = RunStore(home / "source_store")
        self.sources = {preset: self._trained(preset) for preset in STEPS}
        self.store = RunStore(home / "checkpoints")
        self.own = make(self.store)
        self.folders = build_pretrained(
            list(self.sources.values()), self.store.root / "pretrained", self.corpora, corpus_name="Cats"
        )

    def _trained(self, preset: str) -> Run:
        settings = {**TINY, **QUICK, "num_steps": STEPS[preset]}
        run = self.source_store.create(settings=settings, corpus=self.corpus, preset=preset, queued=False)
        assert work(run, self.corpora.root).state == "completed"
        return run

    def shipped(self, preset: str) -> Run:
        return self.store.get(f"pretrained-{preset}")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretrainedFixture]:
    """With fewer snapshots than in the real models, because findings take time."""
    with pytest.MonkeyPatch.context() as patch:
        for preset, kept in {"nano": 6, "small": 4}.items():
            patch.setitem(SNAPSHOT_COUNTS, preset, kept)
        yield PretrainedFixture(tmp_path_factory.mktemp("built"))


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


class TestListing:
    def test_user_runs_are_listed_first_then_the_largest_models(self, built: PretrainedFixture) -> None:
        listed = built.store.list()
        assert [run.id for run in listed] == [built.own.id, "pretrained-small", "pretrained-nano"]
        assert [run.read_only for run in listed] == [False, True, True]

    def test_a_pretrained_run_behaves_like_any_run(self, built: PretrainedFixture) -> None:
        for preset, source in built.sources.items():
            run = built.shipped(preset)
            assert run.status().state == "completed" and run.status().step == STEPS[preset]
            assert (run.preset, run.title, run.corpus["name"]) == (preset, f"{preset} · Cats", "Cats")
            assert (run.model_config, run.train_config) == (source.model_config, source.train_config)
            assert run.baselines == built.corpora.baselines(built.corpus.sha256) and run.baselines is not None
            assert run.curve().steps == source.curve().steps and run.curve().loss == source.curve().loss
            assert Run.open(run.folder).read_only and Run.open(run.folder).id == run.id

    def test_invalid_ids_do_not_resolve(self, built: PretrainedFixture) -> None:
        for invalid in (
            "pretrained",
            "pretrained-",
            "pretrained-..",
            "pretrained-.",
            "pretrained-x",
            "pretrained-nano/..",
        ):
            with pytest.raises(InputError, match="no longer here"):
                built.store.get(invalid)


class TestContents:
    def test_the_first_and_the_best_snapshot_are_kept(self, built: PretrainedFixture) -> None:
        for preset, source in built.sources.items():
            steps = [snapshot.step for snapshot in built.shipped(preset).snapshots()]
            best = next(snapshot.step for snapshot in source.snapshots() if snapshot.best)
            assert len(steps) == min(SNAPSHOT_COUNTS[preset], len(source.snapshots()))
            assert {0, best} <= set(steps) <= {snapshot.step for snapshot in source.snapshots()}

    def test_weights_are_float16_on_disk_and_float32_in_memory(self, built: PretrainedFixture) -> None:
        for snapshot in built.shipped("nano").snapshots():
            tensors, _ = read_tensors(snapshot.path)
            assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
            loaded = load_model(snapshot.path).model.state_dict()
            original = load_model(built.sources["nano"].snapshot(snapshot.step).path).model.state_dict()
            for name, tensor in loaded.items():
                assert tensor.dtype == torch.float32 and torch.equal(tensor, original[name].half().float())

    def test_losses_means_and_samples_are_measured_on_the_stored_weights(self, built: PretrainedFixture) -> None:
        for preset in built.sources:
            run = built.shipped(preset)
            data = Dataset.from_ids(built.corpora.encoded(built.corpus.sha256)[1], 0.1)
            evals = {event.step: event for event in run.events() if isinstance(event, Eval)}
            samples = {event.step: event.text for event in run.events() if isinstance(event, Sample)}
            for snapshot in run.snapshots():
                loaded = load_model(snapshot.path)
                val_loss = evaluate(loaded.model, data.val, max_characters=10**9)
                assert val_loss == snapshot.val_loss == loaded.info.val_loss == evals[snapshot.step].val_loss
                assert snapshot.train_loss == loaded.info.train_loss == evals[snapshot.step].train_loss
                seed = run.train_config.seed
                means = measure_means(loaded.model, data.val)
                assert np.array_equal(load_means(snapshot.means_path).heads, means.heads)
                assert samples[snapshot.step] == snapshot_sample(loaded.model, loaded.tokenizer, seed)
            best = min(run.snapshots(), key=lambda snapshot: snapshot.val_loss or 0.0)
            made = run_files.read_json(run.folder / run_files.RUN)["made"]
            assert best.best and best.val_loss == made["val_loss"] == run.status().val_loss
            assert (made["best_step"], made["train_loss"]) == (best.step, best.train_loss)

    def test_a_curve_contains_only_losses_on_the_same_text(
        self, built: PretrainedFixture, tmp_path: Path, monkeypatch
    ) -> None:
        """If training evaluated on different text, only losses measured on the stored weights are kept."""

        def evals() -> list[int]:
            (folder,) = build_pretrained([built.sources["small"]], tmp_path, built.corpora)
            return [event.step for event in Run.open(folder).events() if isinstance(event, Eval)]

        between = evals()
        monkeypatch.setattr(pretrained, "evaluate", lambda *_, **options: evaluate(*_, **options) + 0.03)
        kept = [snapshot.step for snapshot in built.shipped("small").snapshots()]
        assert evals() == kept and set(kept) < set(between)

    def test_the_events_list_only_existing_snapshots(self, built: PretrainedFixture) -> None:
        for preset in built.sources:
            run = built.shipped(preset)
            steps = [snapshot.step for snapshot in run.snapshots()]
            assert [event.step for event in run.events() if isinstance(event, Checkpoint)] == steps
            assert [sample.step for sample in run.samples()] == steps
            assert not [event for event in run.events() if isinstance(event, Resume)]
            made = run_files.read_json(run.folder / run_files.RUN)["made"]
            assert made["torch"] == torch.__version__ and made["weights"] == "float16" and made["machine"]
            assert run.corpus["sha256"] == built.corpus.sha256 and run.train_config.seed == 42

    def test_the_folder_contains_no_log_resume_file_or_local_path(self, built: PretrainedFixture) -> None:
        expected = {run_files.RUN, run_files.STATUS, run_files.METRICS, run_files.BASELINES}
        for folder in built.folders:
            kept = {
                path.name
                for path in folder.iterdir()
                if not path.name.startswith(("checkpoint_", "means_", "findings_"))
            }
            assert kept == expected
            for path in folder.iterdir():
                content = path.read_bytes()
                for place in (built.store.root, built.source_store.root, ROOT, Path.home()):
                    assert str(place).encode() not in content or str(place) == "/"


class TestReadOnly:
    def test_a_pretrained_run_cannot_be_changed(self, built: PretrainedFixture) -> None:
        launcher = Launcher(built.store, built.corpora.root)
        before = files(built.store.root / "pretrained")
        for attempt in (
            lambda: built.store.rename("pretrained-nano", "mine"),
            lambda: built.store.delete("pretrained-nano"),
            lambda: launcher.resume("pretrained-nano"),
            lambda: launcher.start("pretrained-nano"),
            lambda: launcher.pause("pretrained-nano"),
            lambda: launcher.stop("pretrained-nano"),
            lambda: work(built.shipped("nano"), built.corpora.root),
        ):
            with pytest.raises(InputError) as refused:
                attempt()
            assert str(refused.value).endswith(".")
        Catalogue(built.store, built.corpora).rows()
        assert files(built.store.root / "pretrained") == before

    def test_no_run_can_be_created_in_the_pretrained_folder(self, built: PretrainedFixture) -> None:
        with pytest.raises(InputError, match="choose another folder"):
            make(RunStore(built.store.root / "pretrained"))

    def test_a_pretrained_run_can_be_forked(self, built: PretrainedFixture) -> None:
        parent = built.shipped("nano")
        settings = {"num_steps": 2}
        run = built.store.fork(parent, corpora=built.corpora, settings=settings, queued=False)
        assert work(run, built.corpora.root).state == "completed" and not run.read_only
        # It starts from the stored weights.
        assert run.snapshot(0).val_loss == pytest.approx(parent.snapshot().val_loss, abs=1e-6)
        built.store.delete(run.id)

    def test_the_page_lists_pretrained_runs_as_shipped(self, built: PretrainedFixture) -> None:
        rows = {row["id"]: row for row in Catalogue(built.store, built.corpora).rows()}
        assert rows["pretrained-nano"]["shipped"] and not rows[built.own.id]["shipped"]
        assert len({row["slot"] for row in rows.values()}) == 3


class TestBuilding:
    def test_the_command_builds_models_from_run_folders(self, built: PretrainedFixture, tmp_path: Path, capsys) -> None:
        arguments = [
            "--from",
            str(built.sources["small"].folder),
            "--to",
            str(tmp_path / "to"),
            "--corpora",
            str(built.corpora.root),
        ]
        for _ in range(2):  # the second call replaces the first result
            assert command.main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2 and lines[0].startswith("small: ") and f"torch {torch.__version__}" in lines[0]
        assert [path.name for path in (tmp_path / "to").iterdir()] == ["small"]
        assert run_files.read_json(tmp_path / "to" / "small" / run_files.RUN)["title"] == "small · cats.txt"

    def test_unsuitable_runs_are_refused_and_nothing_changes(
        self, built: PretrainedFixture, tmp_path: Path, monkeypatch
    ) -> None:
        root, before = built.store.root / "pretrained", files(built.store.root / "pretrained")
        nano = built.sources["nano"]
        unfinished = make(RunStore(tmp_path / "other"))
        sprint = RunStore(tmp_path / "other").create(settings={}, corpus=built.corpus, preset="sprint")
        fork = built.source_store.fork(nano, corpora=built.corpora, settings={}, queued=False)
        with pytest.raises(InputError, match="is queued"):
            build_pretrained([unfinished], root, built.corpora)
        with pytest.raises(InputError, match="choose a run of nano"):
            build_pretrained([sprint], root, built.corpora)
        with pytest.raises(InputError, match="from scratch"):
            build_pretrained([fork], root, built.corpora)
        with pytest.raises(InputError, match="same preset"):
            build_pretrained([nano, nano], root, built.corpora)
        with pytest.raises(InputError, match="text is no longer here"):
            build_pretrained([nano], root, CorpusStore(tmp_path / "empty"))
        monkeypatch.setattr(pretrained, "MAX_BYTES", 1000)
        with pytest.raises(InputError, match="limit"):
            build_pretrained([nano], root, built.corpora)
        assert files(root) == before

    def test_an_invalid_request_gives_a_one_line_message(self, tmp_path: Path, capsys) -> None:
        assert command.main(["--from", str(tmp_path)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_weight_that_overflows_float16_is_refused(tmp_path: Path) -> None:
    model = random_model(ModelConfig(vocab_size=5, embedding_dim=8, num_layers=1, ffn_hidden_dim=8))
    with torch.no_grad():
        model.embedding.weight[0, 0] = 1e5
    save_checkpoint(tmp_path / "whole", model, step=0)
    with pytest.raises(InputError, match="not finite"):
        save_checkpoint(tmp_path / "half", model, step=0, half=True)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@given(st.integers(1, 60), st.integers(3, 25), st.data())
def test_thinning_keeps_the_first_and_best_and_spreads_the_rest(total: int, count: int, data) -> None:
    best = data.draw(st.integers(0, total - 1))
    kept = thin(range(total), count, best)
    assert len(kept) == min(total, count) and kept == sorted(set(kept))
    assert {0, best} <= set(kept)
    if total > count:  # no gap is much wider than with even spacing
        assert max(b - a for a, b in pairwise(kept)) <= 2 * (total - 1) / (count - 2) + 1


SHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


@pytest.fixture(scope="module")
def shipped() -> dict[str, Run]:
    return {str(run.preset): run for run in RunStore(ROOT / "checkpoints").list() if run.read_only}


class TestCommittedModels:
    """The committed models. If a figure is measured again, the failing test names the document that quotes it."""

    def test_three_models_are_included_within_the_size_limit(self, shipped: dict[str, Run]) -> None:
        assert list(shipped) == ["medium", "small", "nano"]
        assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= MAX_BYTES

    def test_each_model_has_its_snapshots_including_the_first_and_the_best(self, shipped: dict[str, Run]) -> None:
        for preset, run in shipped.items():
            snapshots = run.snapshots()
            steps = [snapshot.step for snapshot in snapshots]
            assert len(steps) == ACTUAL_COUNTS[preset] and steps[0] == 0
            (best,) = [snapshot for snapshot in snapshots if snapshot.best]
            measured = {event.step: event.val_loss for event in run.events() if isinstance(event, Eval)}
            assert best.val_loss == min(measured.values()) and set(steps) <= set(measured)
            made = run_files.read_json(run.folder / run_files.RUN)["made"]
            assert (made["best_step"], made["val_loss"]) == (best.step, best.val_loss)
            assert run.status().val_loss == best.val_loss and run.status().state == "completed"

    def test_each_snapshot_has_float16_weights_a_sample_means_and_losses(self, shipped: dict[str, Run]) -> None:
        for run in shipped.values():
            samples = {sample.step: sample.text for sample in run.samples()}
            assert list(samples) == [snapshot.step for snapshot in run.snapshots()] and all(samples.values())
            for snapshot in run.snapshots():
                tensors, _ = read_tensors(snapshot.path)
                assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
                assert snapshot.val_loss == load_model(snapshot.path).info.val_loss
                assert load_means(snapshot.means_path).heads.shape[0] == run.model_config.num_layers

    def test_each_model_records_how_it_was_built(self, shipped: dict[str, Run]) -> None:
        for run in shipped.values():
            made = run_files.read_json(run.folder / run_files.RUN)["made"]
            assert run.corpus["sha256"] == builtin.SHAKESPEARE_SHA256 == SHAKESPEARE and run.train_config.seed == 42
            assert made["machine"] and made["torch"] and made["weights"] == "float16" and made["threads"] >= 1
            assert run.baselines is not None and run.parent is None

    def test_the_models_have_the_configuration_of_their_presets(self, shipped: dict[str, Run]) -> None:
        for name, run in shipped.items():
            assert (run.model_config, run.train_config) == make_configs(PRESETS[name], 65)

    def test_the_curves_have_no_jumps(self, shipped: dict[str, Run]) -> None:
        for run in shipped.values():
            half = run.train_config.num_steps // 2
            losses = [event.val_loss for event in run.events() if isinstance(event, Eval) and event.step > half]
            assert all(b < a + 0.015 for a, b in pairwise(losses)), run.preset  # none of them overfits

    @pytest.mark.parametrize("document", ["README.md", "TRAINING.md"])
    def test_the_documents_contain_the_measured_losses(self, document: str, shipped: dict[str, Run]) -> None:
        text = (ROOT / document).read_text(encoding="utf-8")
        for name, run in shipped.items():
            loss = f"{run_files.read_json(run.folder / run_files.RUN)['made']['val_loss']:.3f}"
            row = f"| {name} | {run.model_config.num_parameters:,} | {loss} |"
            if document == "TRAINING.md":
                row = f"| {name} | the preset, seed 42, as included | **{loss}** |"
            assert row in text, f"{document} must say: {row}"
