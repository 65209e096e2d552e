"""What is kept beside a snapshot is what the looks inside find, and comes back as it was."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from nanollm.cli import findings as command
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import Part, measure_means, rank_heads, save_means
from nanollm.explain.backup_heads import Backup
from nanollm.explain.context_use import context_meter
from nanollm.explain.findings import Findings, find, load_findings, save_findings
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
    return find(model, TOKENIZER, ids, measure_means(model, ids))


def same(one: Findings, other: Findings) -> None:
    for part in ("scores", "meter"):
        a, b = getattr(one, part), getattr(other, part)
        for field in fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
    assert (one.effects, one.backup) == (other.effects, other.backup)


def test_it_finds_what_the_single_looks_find(model, found: Findings) -> None:
    ids = TOKENIZER.encode(TEXT)
    np.testing.assert_array_equal(found.scores.scores, head_scores(model, TOKENIZER, TEXT).scores)
    expected = list(rank_heads(model, ids, measure_means(model, ids)))
    assert [effect.part for effect in found.effects] == [effect.part for effect in expected]
    assert found.effects[0].increase == pytest.approx(expected[0].increase, abs=1e-6)
    np.testing.assert_array_equal(found.meter.lengths, context_meter(model, ids).lengths)


def test_it_comes_back_as_it_was(found: Findings, tmp_path: Path) -> None:
    pair = Part("head", 0, 1), Part("head", 1, 0)
    for each in (found, replace(found, backup=Backup(pair, (0.02, 0.03), 0.31, 0.01))):
        save_findings(tmp_path / "kept", each)
        same(load_findings(tmp_path / "kept"), each)


def test_they_fit_models_of_one_shape(model, found: Findings) -> None:
    assert found.fit(model.config)
    assert not found.fit(replace(model.config, num_layers=1))
    assert not found.fit(replace(model.config, context_length=8))


def test_what_is_missing_damaged_or_something_else_is_refused(model, found: Findings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Nothing was kept"):
        load_findings(tmp_path / "nowhere")
    save_means(tmp_path / "means", measure_means(model, TOKENIZER.encode(TEXT)))
    with pytest.raises(InputError, match="no findings"):
        load_findings(tmp_path / "means")
    meter = found.meter
    for forged in (
        replace(meter, missing=meter.missing + 1.0),  # the whole window, too
        replace(meter, lengths=meter.lengths[::-1]),
        replace(meter, lengths=meter.lengths.astype(np.float32)),
        replace(meter, cut=meter.cut[:-1]),
        replace(meter, along=np.full_like(meter.along, np.inf)),
    ):
        save_findings(tmp_path / "forged", replace(found, meter=forged))
        with pytest.raises(InputError, match="no findings"):
            load_findings(tmp_path / "forged")
    nobody = Backup((Part("head", 0, 0), Part("head", 0, 2)), (0.0, 0.0), 0.1, 0.01)
    save_findings(tmp_path / "forged", replace(found, backup=nobody))
    with pytest.raises(InputError, match="no findings"):
        load_findings(tmp_path / "forged")
    save_findings(tmp_path / "kept", found)
    content = bytearray((tmp_path / "kept").read_bytes())
    content[-1] ^= 1
    (tmp_path / "kept").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_findings(tmp_path / "kept")


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no models are shipped yet")
class TestWhatIsShipped:
    def test_every_snapshot_has_findings_with_errors_and_each_head_among_them(self) -> None:
        for run in RunStore(ROOT / "checkpoints").list():
            for snapshot in run.snapshots() if run.read_only else ():
                kept, config = load_findings(snapshot.findings_path), run.model_config
                assert kept.scores.scores.shape[:2] == (config.num_layers, config.heads)
                assert len(kept.effects) == config.num_layers * config.heads
                assert all(0 < effect.error < 0.1 for effect in kept.effects)
                assert kept.meter.lengths[-1] == config.context_length
                assert np.isfinite(kept.meter.missing_error).all() and np.isfinite(kept.scores.scores).all()
                if snapshot.best and run.preset == "medium":
                    assert kept.backup is not None and kept.backup.together > 2 * sum(kept.backup.alone)


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no models are shipped yet")
def test_the_command_needs_the_text(tmp_path: Path, capsys) -> None:
    asked = ["--of", str(SHIPPED), "--corpora", str(tmp_path)]
    assert command.main(asked) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
