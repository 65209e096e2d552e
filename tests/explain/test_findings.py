"""Findings equal the single measurements, survive saving and loading, and damaged files are rejected."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from nanollm.cli.pretrained import main_findings
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import Part, measure_means, rank_heads, save_means
from nanollm.explain.backup_heads import BackupPair
from nanollm.explain.context_use import measure_context_use
from nanollm.explain.findings import Findings, load_findings, measure_findings, save_findings
from nanollm.explain.head_types import head_scores
from nanollm.runs import run_files
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from tests.conftest import ROOT, random_model

TEXT = "the cat sat on the mat, and the rat ran from the cat.\n" * 40
TOKENIZER = CharTokenizer.from_text(TEXT)
SHIPPED = ROOT / "checkpoints" / run_files.PRETRAINED


@pytest.fixture(scope="module")
def model():
    return random_model(ModelConfig(TOKENIZER.vocab_size, 16, 2, 16, num_heads=2, context_length=16))


@pytest.fixture(scope="module")
def found(model) -> Findings:
    ids = TOKENIZER.encode(TEXT)
    return measure_findings(model, TOKENIZER, ids, measure_means(model, ids))


def same(one: Findings, other: Findings) -> None:
    for part in ("scores", "context_use"):
        a, b = getattr(one, part), getattr(other, part)
        for field in fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
    assert (one.effects, one.backup) == (other.effects, other.backup)


def test_findings_equal_the_single_measurements(model, found: Findings) -> None:
    ids = TOKENIZER.encode(TEXT)
    np.testing.assert_array_equal(found.scores.scores, head_scores(model, TOKENIZER, TEXT).scores)
    expected = list(rank_heads(model, ids, measure_means(model, ids)))
    assert [effect.part for effect in found.effects] == [effect.part for effect in expected]
    assert found.effects[0].increase == pytest.approx(expected[0].increase, abs=1e-6)
    np.testing.assert_array_equal(found.context_use.lengths, measure_context_use(model, ids).lengths)


def test_findings_survive_saving_and_loading(found: Findings, tmp_path: Path) -> None:
    pair = Part("head", 0, 1), Part("head", 1, 0)
    for each in (found, replace(found, backup=BackupPair(pair, (0.02, 0.03), 0.31, 0.01))):
        save_findings(tmp_path / "findings", each)
        same(load_findings(tmp_path / "findings"), each)


def test_findings_fit_models_of_one_shape_only(model, found: Findings) -> None:
    assert found.fit(model.config)
    assert not found.fit(replace(model.config, num_layers=1))
    assert not found.fit(replace(model.config, context_length=8))


def test_missing_damaged_or_inconsistent_files_are_rejected(model, found: Findings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no saved findings"):
        load_findings(tmp_path / "nowhere")
    save_means(tmp_path / "means", measure_means(model, TOKENIZER.encode(TEXT)))
    with pytest.raises(InputError, match="no valid findings"):
        load_findings(tmp_path / "means")
    use = found.context_use
    for forged in (
        replace(use, increase=use.increase + 1.0),  # also for the whole window, where it must be 0
        replace(use, lengths=use.lengths[::-1]),
        replace(use, lengths=use.lengths.astype(np.float32)),
        replace(use, truncated=use.truncated[:-1]),
        replace(use, by_position=np.full_like(use.by_position, np.inf)),
    ):
        save_findings(tmp_path / "forged", replace(found, context_use=forged))
        with pytest.raises(InputError, match="no valid findings"):
            load_findings(tmp_path / "forged")
    outside = BackupPair((Part("head", 0, 0), Part("head", 0, 2)), (0.0, 0.0), 0.1, 0.01)
    save_findings(tmp_path / "forged", replace(found, backup=outside))
    with pytest.raises(InputError, match="no valid findings"):
        load_findings(tmp_path / "forged")
    save_findings(tmp_path / "findings", found)
    content = bytearray((tmp_path / "findings").read_bytes())
    content[-1] ^= 1
    (tmp_path / "findings").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_findings(tmp_path / "findings")


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no models are shipped yet")
class TestPretrainedModels:
    def test_every_snapshot_has_complete_findings(self) -> None:
        for run in RunStore(ROOT / "checkpoints").list():
            for snapshot in run.snapshots() if run.read_only else ():
                findings, config = load_findings(snapshot.findings_path), run.model_config
                assert findings.scores.scores.shape[:2] == (config.num_layers, config.heads)
                assert len(findings.effects) == config.num_layers * config.heads
                assert all(0 < effect.error < 0.1 for effect in findings.effects)
                assert findings.context_use.lengths[-1] == config.context_length
                assert (
                    np.isfinite(findings.context_use.increase_error).all() and np.isfinite(findings.scores.scores).all()
                )
                if snapshot.best and run.preset == "medium":
                    assert findings.backup is not None and findings.backup.together > 2 * sum(findings.backup.alone)


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no models are shipped yet")
def test_the_command_reports_a_missing_text(tmp_path: Path, capsys) -> None:
    arguments = ["--of", str(SHIPPED), "--corpora", str(tmp_path)]
    assert main_findings(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
