"""settings.py: the form of Train as settings of the core and as a command."""

from __future__ import annotations

from dataclasses import fields

import pytest

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset
from nanollm.data.builtin import add_by_name
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from playground.train.settings_form import (
    NAMES,
    FormSettings,
    continue_settings,
    corpus_argument,
    defaults,
    fields_named,
    preset_card,
    warning,
)


def values(preset_name: str, **changed: object) -> list[object]:
    return list({**defaults(preset_name), **changed}.values())


def test_every_setting_but_the_vocabulary_is_on_the_page_once():
    known = {f.name for f in (*fields(ModelConfig), *fields(TrainConfig))} - {"vocab_size"}
    assert set(NAMES) == known and len(NAMES) == len(known)


@pytest.mark.parametrize("name", PRESETS)
def test_an_untouched_form_is_the_preset(name):
    settings = FormSettings.of(name, values(name))
    assert settings.settings == {}
    assert settings.configs(65) == make_configs(preset(name), 65)


def test_only_what_was_changed_is_passed_on():
    settings = FormSettings.of(
        "nano", values("nano", num_steps=500.0, learning_rate=0.03, num_heads="2", threads=" auto ")
    )
    assert settings.settings == {"num_steps": 500, "learning_rate": 0.03, "num_heads": 2}
    assert settings.command("data/raw/my text.txt").splitlines() == [
        "python -m nanollm train --preset nano --corpus 'data/raw/my text.txt' \\",
        "  --num-heads 2 \\",
        "  --num-steps 500 \\",
        "  --learning-rate 0.03",
    ]


def test_a_yes_or_no_setting_is_written_as_the_command_line_reads_it():
    settings = FormSettings.of("nano", values("nano", qk_norm=True))
    assert settings.settings == {"qk_norm": True}
    assert settings.command("a.txt").endswith("--qk-norm true")
    assert "--qk-norm false" in FormSettings.of("sprint", values("sprint", qk_norm=False)).command("a.txt")


def test_the_command_brings_the_very_text_under_the_name_that_it_has(tmp_path, monkeypatch):
    """Whoever runs the copied command, where the page keeps its texts, finds no text renamed."""
    monkeypatch.chdir(tmp_path)
    corpora = CorpusStore("data/corpora")
    own = corpora.add_text("a text of somebody's own", "my notes")
    ours = corpora.add_text("print()", "Python source", builtin="python-source")
    assert add_by_name(corpora, corpus_argument(own)) == own and corpora.get(own.sha256) == own
    assert corpus_argument(ours) == "python-source"
    assert corpus_argument(corpora.list()[0]) == "data/raw/sample.txt"


@pytest.mark.parametrize(
    ("setting", "value"), [("num_steps", 0), ("num_steps", None), ("num_heads", "many"), ("learning_rate", True)]
)
def test_what_the_core_refuses_is_a_sentence_with_the_name(setting, value):
    with pytest.raises(InputError, match=setting):
        FormSettings.of("nano", values("nano", **{setting: value})).configs(65)


def test_a_card_counts_the_parameters_for_this_text():
    few, many = preset_card("nano", 65), preset_card("nano", 75, step_seconds=0.01)
    assert few[1] == many[1] == "nano"
    assert f"{make_configs(preset('nano'), 75)[0].num_parameters:,} parameters" in many[0]
    assert few[0] != many[0]


def test_a_card_prints_no_time_that_nobody_measured():
    assert (
        "here" not in preset_card("small", 65)[0]
        and "about 34 s here" in preset_card("small", 65, step_seconds=0.01)[0]  # 3,000 steps, start and saving
    )
    assert "measuring the time" in preset_card("small", 65, pending="measuring")[0]
    assert "after the current training" in preset_card("small", 65, pending="training")[0]
    assert (
        "measuring"
        not in preset_card("small", 65, step_seconds=0.01, pending="measuring")[0] + preset_card("small", 65)[0]
    )


def test_a_card_counts_the_time_that_evaluating_takes():
    assert "about 37 s here" in preset_card("small", 65, characters=1_115_394, step_seconds=0.01)[0]


@pytest.mark.parametrize("changed", [{"num_heads": "3"}, {"embedding_dim": 33}, {"num_steps": 0}, {"dropout": 2.0}])
def test_a_refusal_is_shown_beside_what_was_changed(changed):
    settings = FormSettings.of("sprint", values("sprint", **changed))
    with pytest.raises(InputError) as refused:
        settings.configs(65)
    assert fields_named(str(refused.value), settings.settings) == list(changed)


def test_what_names_no_field_blames_none():
    assert fields_named("The text is gone.", {"num_heads": 3}) == []


def test_going_on_keeps_what_is_left_empty():
    assert continue_settings(["", None, " "]) == {}
    assert continue_settings(["500", "0.001", ""]) == {"num_steps": 500, "learning_rate": 0.001}
    with pytest.raises(InputError, match="num_steps \\('5 hundred'\\) must be a number"):
        continue_settings(["5 hundred", "", ""])


def test_a_warm_up_that_outlasts_the_training_is_pointed_out_beside_the_field_that_made_it_so():
    for changed, asked in ({"num_steps": 50}, "nano"), ({"warmup_steps": 500}, "sprint"):
        settings = FormSettings.of(asked, values(asked, **changed))
        assert fields_named(warning(settings.configs(65)[1]), settings.settings) == list(changed)
    for name in PRESETS:
        assert warning(make_configs(preset(name), 65)[1]) == ""
