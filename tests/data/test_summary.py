"""Text summaries: the same values as JSON and for the terminal."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nanollm.cli import lookup
from nanollm.cli import main as cli
from nanollm.data.builtin import VARIABLE
from nanollm.data.corpus import CorpusStore
from nanollm.data.summary import as_json, as_lines, baseline_rows, one_sentence, summarize

TALE = "the cat sat on the mat, and the rat ran from the cat.\n" * 400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lookup, "CORPORA", tmp_path / "data" / "corpora")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere.txt"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_summary_matches_the_store(corpora: CorpusStore) -> None:
    info = corpora.add_text(TALE + "\u200b", "tale")
    facts = summarize(corpora, info)
    assert facts.baselines == corpora.baselines(info.sha256) and facts.info is info
    losses = [loss for _, loss in baseline_rows(facts.baselines)]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert facts.entropy == pytest.approx(
        facts.baselines.unigram, abs=0.05
    )  # random text has the same statistics everywhere
    assert dict(facts.unusual) == {"\u200b": 1}

    about = json.loads(json.dumps(as_json(facts)))
    assert (about["characters"], about["vocab_size"]) == (info.characters, info.vocab_size)
    assert about["baselines"]["uniform"] == math.log(info.vocab_size)
    assert about["presets"]["medium"]["enough"] is False
    assert about["unusual"] == {"\u200b": "U+200B ZERO WIDTH SPACE: invisible"}

    printed = "\n".join(as_lines(facts))
    assert (
        printed.startswith(one_sentence(info))
        and "␣" in printed
        and "1 × U+200B" in printed
        and "counted in" not in printed
    )


def test_a_text_too_short_for_validation_is_summarized(corpora: CorpusStore) -> None:
    facts = summarize(corpora, corpora.add_text("ab", "short"))
    assert baseline_rows(facts.baselines) == [("uniform guess", math.log(2))]
    assert "too short for all presets" in as_lines(facts)[0] and facts.entropy == pytest.approx(math.log(2))


def test_a_text_of_one_character_has_entropy_zero(corpora: CorpusStore) -> None:
    facts = summarize(corpora, corpora.add_text("a" * 1000, "same"))
    assert facts.entropy == 0 and [loss for _, loss in baseline_rows(facts.baselines)] == pytest.approx([0] * 4)


def test_summarizing_a_file_does_not_store_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "old.txt").write_bytes(("café " * 2000).encode("latin-1"))
    assert cli.main(["corpus", "old.txt", "--encoding", "latin-1", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["characters"] == 10_000 and about["frequencies"]["é"] == 2000 and about["name"] == "old.txt"
    assert not lookup.CORPORA.exists()
    assert cli.main(["corpus", "old.txt"]) == 2
    assert "not valid UTF-8" in capsys.readouterr().err


def test_built_in_texts_are_found_by_id(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["corpus"]) == cli.main(["corpus", "sample"]) == 0
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :] and "enough for sprint and nano" in printed
    assert cli.main(["corpus", "python-documentation", "--json"]) == 0
    info = CorpusStore(lookup.CORPORA).get(json.loads(capsys.readouterr().out)["sha256"])
    assert info.builtin == "python-documentation"
    for command in (["corpus"], ["train", "--corpus"], ["scale", "--corpus"]):
        assert cli.main([*command, "tiny-shakespeare"]) == 2
        assert "nowhere.txt', which cannot be read" in capsys.readouterr().err
