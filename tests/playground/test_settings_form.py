"""The Train form: settings for the core, the equivalent command, and the preset cards."""

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
    """Return the form values of a preset with some of them changed."""
    return list({**defaults(preset_name), **changed}.values())


def test_the_form_has_every_setting_except_the_vocabulary_size_once():
    known = {f.name for f in (*fields(ModelConfig), *fields(TrainConfig))} - {"vocab_size"}
    assert set(NAMES) == known and len(NAMES) == len(known)


@pytest.mark.parametrize("name", PRESETS)
def test_an_unchanged_form_gives_the_preset(name):
    settings = FormSettings.of(name, values(name))
    assert settings.settings == {}
    assert settings.configs(65) == make_configs(preset(name), 65)


def test_only_changed_values_are_settings():
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


def test_boolean_settings_are_written_for_the_command_line():
    settings = FormSettings.of("nano", values("nano", qk_norm=True))
    assert settings.settings == {"qk_norm": True}
    assert settings.command("a.txt").endswith("--qk-norm true")
    assert "--qk-norm false" in FormSettings.of("sprint", values("sprint", qk_norm=False)).command("a.txt")


def test_the_corpus_argument_finds_the_same_stored_text(tmp_path, monkeypatch):
    """Running the copied command in the home folder of the page renames no text."""
    monkeypatch.chdir(tmp_path)
    corpora = CorpusStore("data/corpora")
    own = corpora.add_text("a text of a user", "my notes")
    added = corpora.add_text("print()", "Python source", builtin="python-source")
    assert add_by_name(corpora, corpus_argument(own)) == own and corpora.get(own.sha256) == own
    assert corpus_argument(added) == "python-source"
    assert corpus_argument(corpora.list()[0]) == "data/raw/sample.txt"


@pytest.mark.parametrize(
    ("setting", "value"), [("num_steps", 0), ("num_steps", None), ("num_heads", "many"), ("learning_rate", True)]
)
def test_invalid_values_give_an_error_that_names_the_setting(setting, value):
    with pytest.raises(InputError, match=setting):
        FormSettings.of("nano", values("nano", **{setting: value})).configs(65)


def test_a_card_shows_the_parameters_for_the_vocabulary():
    few, many = preset_card("nano", 65), preset_card("nano", 75, step_seconds=0.01)
    assert few[1] == many[1] == "nano"
    assert f"{make_configs(preset('nano'), 75)[0].num_parameters:,} parameters" in many[0]
    assert few[0] != many[0]


def test_a_card_shows_only_measured_times():
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


def test_a_cards_time_includes_evaluation():
    assert "about 36 s here" in preset_card("small", 65, characters=1_115_394, step_seconds=0.01)[0]


@pytest.mark.parametrize("changed", [{"num_heads": "3"}, {"embedding_dim": 33}, {"num_steps": 0}, {"dropout": 2.0}])
def test_an_error_is_shown_beside_the_changed_field(changed):
    settings = FormSettings.of("sprint", values("sprint", **changed))
    with pytest.raises(InputError) as refused:
        settings.configs(65)
    assert fields_named(str(refused.value), settings.settings) == list(changed)


def test_an_error_without_a_setting_name_marks_no_field():
    assert fields_named("The text is missing.", {"num_heads": 3}) == []


def test_continue_keeps_settings_whose_field_is_empty():
    assert continue_settings(["", None, " "]) == {}
    assert continue_settings(["500", "0.001", ""]) == {"num_steps": 500, "learning_rate": 0.001}
    with pytest.raises(InputError, match="num_steps \\('5 hundred'\\) must be a number"):
        continue_settings(["5 hundred", "", ""])


def test_a_warm_up_longer_than_training_is_reported_beside_the_changed_field():
    for changed, name in ({"num_steps": 50}, "nano"), ({"warmup_steps": 500}, "sprint"):
        settings = FormSettings.of(name, values(name, **changed))
        assert fields_named(warning(settings.configs(65)[1]), settings.settings) == list(changed)
    for name in PRESETS:
        assert warning(make_configs(preset(name), 65)[1]) == ""
