"""The training loop: it learns, is reproducible, and resumes bit-identically."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig, TrainConfig, make_configs, preset
from nanollm.errors import InputError
from nanollm.inference.generate import generate_text
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_checkpoint, load_model
from nanollm.train.checkpoint_file import FINAL_NAME, snapshot_name
from nanollm.train.evaluation import WindowLosses, window_losses
from nanollm.train.events import Checkpoint, End, Eval, Event, FinalEval, Start, Step
from nanollm.train.loop import (
    Dataset,
    TrainState,
    evaluate,
    set_seed,
    train,
    train_with_config,
    write_checkpoint,
)
from nanollm.train.optim import learning_rate_at
from nanollm.train.workload import snapshot_steps
from tests.conftest import random_model

TINY = {
    **{"embedding_dim": 16, "num_layers": 2, "ffn_hidden_dim": 24, "context_length": 16, "dropout": 0.1},
    **{"num_steps": 40, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 5, "seed": 7},
    **{"threads": 1, "precision": "float32"},
    **{"log_interval": 4, "eval_interval": 10, "checkpoint_interval": 12},
}

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is available")


def set_up(text: str, **settings: object) -> tuple[TrainState, Dataset, TrainConfig]:
    tokenizer = CharTokenizer.from_text(text)
    model_config, config = make_configs({**TINY, **settings}, tokenizer.vocab_size)
    set_seed(config.seed)
    state = TrainState.new(TransformerLanguageModel.from_config(model_config), config)
    return state, Dataset.from_ids(tokenizer.encode(text), config.validation_fraction), config


def curve(events: list[Event]) -> list[tuple]:
    """Return the fields that must be equal between two runs: everything except times."""
    timed = {"seconds", "tokens_per_second", "elapsed", "times"}
    return [(e.type, *((k, v) for k, v in vars(e).items() if k not in timed)) for e in events if e.type != "start"]


def assert_same_weights(a: TransformerLanguageModel, b: TransformerLanguageModel) -> None:
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_a_sentence_can_be_memorized(text: str) -> None:
    settings = {"num_steps": 300, "embedding_dim": 32, "dropout": 0.0, "validation_fraction": 0.0, "weight_decay": 0.0}
    state, data, config = set_up(text[:60], **settings)
    list(train(state, data, config))
    assert state.final_loss() < 0.3


def test_the_golden_curve(text: str) -> None:
    """Twenty steps of nano, recorded as a reference: a difference means that the computation has changed."""
    golden = [4.1321, 3.4404, 3.1454, 3.0457, 2.9854]
    changed = {"num_steps": 20, "log_interval": 4, "warmup_steps": 5, "dropout": 0.0, "learning_rate": 1e-2}
    state, data, config = set_up(text, **{**preset("nano"), **changed, "final_lr_fraction": 0.1})
    losses = [e.loss for e in train(state, data, config) if isinstance(e, Step)]
    assert losses == pytest.approx(golden, abs=2e-3)


def test_the_same_seed_gives_the_same_curve(text: str) -> None:
    (a, data, config), (b, _, _) = set_up(text), set_up(text)
    assert curve(list(train(a, data, config))) == curve(list(train(b, data, config)))
    assert_same_weights(a.model, b.model)
    c, data, other = set_up(text, seed=8)
    assert curve(list(train(c, data, other))) != curve(list(train(set_up(text)[0], data, config)))


def test_precision_is_used_and_recorded(text: str) -> None:
    curves = {}
    for precision in ("float32", "bf16"):
        state, data, config = set_up(text, precision=precision, num_steps=4)
        events = list(train(state, data, config))
        assert isinstance(events[0], Start) and events[0].precision == precision
        assert all(p.dtype == torch.float32 for p in state.model.parameters())
        curves[precision] = [e.loss for e in events if isinstance(e, Step)]
    assert curves["float32"] != curves["bf16"]
    assert curves["float32"] == pytest.approx(curves["bf16"], rel=0.02)


def test_sampling_between_events_does_not_affect_training(text: str) -> None:
    (a, data, config), (b, _, _) = set_up(text), set_up(text)
    reference = curve(list(train(a, data, config)))
    interleaved = []
    for event in train(b, data, config):
        interleaved.append(event)
        torch.rand(17)
        b.model.eval()
        evaluate(b.model, data.val)
        generate_text(b.model, CharTokenizer.from_text(text), "The ", max_length=5)
    assert curve(interleaved) == reference
    assert_same_weights(a.model, b.model)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stop_after", [1, 20, 39])
def test_resumed_equals_uninterrupted(
    text: str, tmp_path: Path, stop_after: int, optimizer: str, precision: str
) -> None:
    settings = {"optimizer": optimizer, "precision": precision, "log_interval": 1}
    whole, data, config = set_up(text, **settings)
    expected = curve(list(train(whole, data, config)))

    first, data, config = set_up(text, **settings)
    seen: list[Event] = []
    for event in train(first, data, config):
        seen.append(event)
        if isinstance(event, Step) and event.step == stop_after:
            break
    first.save(tmp_path / "resume.safetensors")
    second = TrainState.load(tmp_path / "resume.safetensors", config)
    assert second.step == stop_after
    rest = list(train(second, data, config))

    # One Checkpoint (resume) may be missing between the halves: the file written at the interruption.
    without = lambda rows: [row for row in rows if ("kind", "resume") not in row]  # noqa: E731
    assert without(curve([*seen, *rest])) == without(expected)
    assert_same_weights(whole.model, second.model)
    before, after = whole.optimizer.tensors(), second.optimizer.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(whole.data_generator.get_state(), second.data_generator.get_state())
    assert torch.equal(whole.global_random, second.global_random)
    assert whole.final_loss() == second.final_loss()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_training_stays_on_its_device_and_resumes_there(text: str, tmp_path: Path, device: str) -> None:
    made, data, config = set_up(text, num_steps=6, log_interval=1)
    state = TrainState.new(made.model.to(device), config)
    events = []
    for event in train(state, data, config):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            break
    state.save(tmp_path / "resume.safetensors")
    again = TrainState.load(tmp_path / "resume.safetensors", config, device)
    events += train(again, data, config)
    assert {event.device for event in events if isinstance(event, Start)} == {str(state.loss_sum.device)}
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3, 4, 5, 6]
    assert again.val_loss is not None and again.val_loss < math.log(made.model.config.vocab_size)
    for tensor in (again.loss_sum, again.recent, *again.model.parameters(), *again.optimizer.tensors().values()):
        assert tensor.device.type == device


def test_a_damaged_resume_file_is_rejected(text: str, tmp_path: Path) -> None:
    state, data, config = set_up(text)
    next(train(state, data, config))
    path = tmp_path / "resume.safetensors"
    state.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        TrainState.load(path, config)
    write_checkpoint(tmp_path, Checkpoint(0, "checkpoint_00000000.safetensors"), state, config)
    with pytest.raises(InputError, match="not a file from which training can resume"):
        TrainState.load(tmp_path / "checkpoint_00000000.safetensors", config)


def test_a_step_event_is_the_last_record_of_its_step(text: str) -> None:
    state, data, config = set_up(text)
    events = list(train(state, data, config))
    assert isinstance(events[0], Start) and isinstance(events[-1], End)
    assert [e.step for e in events if isinstance(e, Step)] == list(range(4, 41, 4))
    assert [e.step for e in events] == sorted(e.step for e in events)
    for earlier, later in pairwise(events[1:-1]):
        if isinstance(earlier, Step) and later.step == earlier.step:
            assert isinstance(later, FinalEval) or (isinstance(later, Checkpoint) and later.kind in ("resume", "final"))


def test_losses_fall_and_match_evaluate(text: str) -> None:
    state, data, config = set_up(text)
    events = list(train(state, data, config))
    evals = [e for e in events if isinstance(e, Eval)]
    assert evals[0].val_loss == pytest.approx(math.log(state.model.config.vocab_size), abs=0.1)
    assert evals[-1].val_loss < evals[0].val_loss - 0.5


def test_a_short_validation_split_is_measured_completely_every_time(text: str) -> None:
    state, data, config = set_up(text[:9000])
    events = list(train(state, data, config))
    evals = [e for e in events if isinstance(e, Eval)]
    assert evals[-1].val_loss == evaluate(state.model, data.val)
    assert all(e.val_error == 0 < e.train_error for e in evals)
    best = min(evals, key=lambda e: e.val_loss)
    assert (state.best_step, state.best_val_loss) == (best.step, best.val_loss)
    assert not any(isinstance(e, FinalEval) for e in events)


@pytest.mark.parametrize("learning_rate", [1e6, 1e9])
def test_a_diverging_run_ends_without_saving_invalid_weights(text: str, tmp_path: Path, learning_rate: float) -> None:
    state, data, config = set_up(text, learning_rate=learning_rate, warmup_steps=0, grad_clip=0)
    events = []
    for event in train(state, data, config):
        events.append(event)
        if isinstance(event, Checkpoint):
            write_checkpoint(tmp_path, event, state, config)
    assert isinstance(events[-1], End) and events[-1].reason == "diverged"
    assert state.step <= config.log_interval * 2
    for path in tmp_path.glob("checkpoint_*"):
        load_checkpoint(path, random_model(state.model.config))


def test_a_step_with_a_non_finite_gradient_changes_no_weight_and_ends_the_run(text: str) -> None:
    state, data, config = set_up(text)
    events = train(state, data, config)
    next(e for e in events if isinstance(e, Step))
    before = [p.clone() for p in state.model.parameters()]
    hook = state.model.norm.gain.register_hook(lambda grad: grad * torch.nan)
    step = next(e for e in events if isinstance(e, Step))
    hook.remove()
    assert step.step <= 2 * config.log_interval and math.isnan(step.grad_norm)
    assert next(events) == End(step.step, "diverged")
    assert all(torch.equal(p, q) for p, q in zip(before, state.model.parameters(), strict=True))


def test_a_skipped_step_is_remembered_across_a_pause(text: str, tmp_path: Path) -> None:
    state, data, config = set_up(text, num_steps=1000, log_interval=100, eval_interval=100, checkpoint_interval=100)
    look = min(step for step in snapshot_steps(1000) if step > 15)

    class Paused(Exception):
        pass

    def between_steps() -> None:
        if state.step == 14:
            hooks.append(state.model.norm.gain.register_hook(lambda grad: grad * torch.nan))
        if state.step == 15:
            raise Paused

    hooks: list = []
    with pytest.raises(Paused):
        list(train(state, data.with_hook(between_steps), config))
    hooks[0].remove()
    state.save(tmp_path / "resume.safetensors")
    assert not state.is_finite()
    events = list(train(TrainState.load(tmp_path / "resume.safetensors", config), data, config))
    assert events[-1] == End(look, "diverged")


def test_a_state_that_is_not_finite_is_not_saved(text: str, tmp_path: Path) -> None:
    for spoil in (
        lambda state: state.model.norm.gain.data.fill_(torch.inf),
        lambda state: next(iter(state.optimizer.tensors().items()))[1].fill_(torch.nan),
    ):
        state, data, config = set_up(text, log_interval=1)
        next(event for event in train(state, data, config) if isinstance(event, Step))
        spoil(state)
        with pytest.raises(InputError, match="not finite"):
            state.save(tmp_path / "resume.safetensors")
        assert list(tmp_path.iterdir()) == []


def test_weights_that_overflow_end_the_run_before_anything_is_saved(text: str) -> None:
    state, data, config = set_up(text)
    events = train(state, data, config)
    next(e for e in events if isinstance(e, Step))
    state.model.norm.gain.data[0] = torch.inf
    step = next(events)
    assert isinstance(step, Step) and next(events) == End(step.step, "diverged")


def test_snapshots_cover_the_whole_training() -> None:
    for num_steps in (1, 2, 10, 999, 1000, 10_000, 123_457):
        steps = sorted(snapshot_steps(num_steps))
        assert steps[0] == 0 and steps[-1] == num_steps and len(steps) <= 20
    assert len(snapshot_steps(1000)) == 20
    gaps = np.diff(sorted(snapshot_steps(10_000)))
    assert gaps[-1] > 10 * gaps[1]


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 20))
def test_evaluation_predicts_every_character_once(length: int, context_length: int, batch: int) -> None:
    config = ModelConfig(vocab_size=5, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=context_length)
    model = random_model(config)
    ids = torch.randint(5, (length,), generator=torch.Generator().manual_seed(batch))
    total = 0.0
    for start in range(0, length - 1, context_length):
        window = ids[start : start + context_length + 1]
        total += F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="sum").item()
    assert evaluate(model, ids) == pytest.approx(total / (length - 1), rel=1e-4)
    assert evaluate(model, ids, max_characters=length) == evaluate(model, ids)


def test_evaluation_reads_the_same_amount_for_any_window(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.zeros(5000, dtype=torch.long)
    for context_length in (1, 7, 64, 999):
        model = random_model(ModelConfig(5, 8, 1, 8, context_length=context_length))
        read: list[int] = []
        monkeypatch.setattr(
            type(model), "forward", lambda _, x, seen=read: seen.append(x.numel()) or F.one_hot(x, 5) * 1.0
        )
        evaluate(model, ids, max_characters=1000)
        assert 1000 - context_length < sum(read) <= 1000


def test_a_subset_estimates_the_loss_of_the_whole_text_within_its_standard_error() -> None:
    """Over many subsets, the error of the estimate has the standard deviation that is reported."""
    model = random_model(ModelConfig(5, 8, 1, 8, context_length=4))
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(60):
        ids = torch.randint(5, (2001,), generator=generator)
        subset, whole = window_losses(model, ids, max_characters=400), window_losses(model, ids)
        assert subset and whole and len(subset.sums) == 100 and whole.error == 0.0
        errors.append((subset.mean - whole.mean) / subset.error)
    assert 0.7 < np.std(errors) < 1.4 and abs(np.mean(errors)) < 0.5


def test_the_best_step_changes_only_by_more_than_the_noise_of_the_difference() -> None:
    generator = np.random.default_rng(0)
    characters = np.full(50, 10)
    hard = generator.normal(20, 5, 50)  # the windows differ far more than the models
    losses = {
        "first": WindowLosses(hard, characters, total_windows=500),
        "same": WindowLosses(hard + generator.normal(0, 1, 50), characters, total_windows=500),
        "better": WindowLosses(hard - 0.5 + generator.normal(0, 1, 50), characters, total_windows=500),
    }
    assert not losses["first"].is_lower_than(losses["first"])
    assert losses["better"].is_lower_than(losses["first"]) and not losses["first"].is_lower_than(losses["better"])
    assert not (losses["same"].is_lower_than(losses["first"]) and losses["first"].is_lower_than(losses["same"]))
    assert abs(losses["better"].mean - losses["first"].mean) < losses["first"].error  # although each is noisier


def estimating(text: str, **settings: object) -> tuple[TrainState, Dataset, TrainConfig]:
    """A run on a text so long that its evaluations are estimates."""
    return set_up(text[:60_000], validation_fraction=0.2, **settings)


def test_losses_at_the_end_cover_the_whole_validation_split(text: str) -> None:
    state, data, config = estimating(text)
    events = list(train(state, data, config))
    evals, (final,) = ([e for e in events if isinstance(e, kind)] for kind in (Eval, FinalEval))
    assert all(e.val_error > 0 and e.characters < len(data.val) for e in evals)
    assert final.val_loss == state.val_loss == evaluate(state.model, data.val)
    assert final.step == config.num_steps and final.best_val_loss == min(final.best_val_loss, final.val_loss)
    assert (state.best_step, state.best_val_loss) == (final.best_step, final.best_val_loss)
    assert abs(evals[-1].val_loss - final.val_loss) < 5 * evals[-1].val_error


def test_the_best_model_is_measured_on_the_whole_split_too(text: str, tmp_path: Path) -> None:
    """With a learning rate that ruins the model later on, also if training was interrupted in between."""
    finals = []
    for stop in (None, 30):
        state, data, config = estimating(text, learning_rate=0.3, warmup_steps=40, grad_clip=0, log_interval=1)
        events = train(state, data, config)
        for event in events:
            if isinstance(event, Checkpoint) and event.kind in ("snapshot", "best"):
                write_checkpoint(tmp_path, event, state, config)
            if isinstance(event, Step) and event.step == stop:
                state.save(tmp_path / "resume.safetensors")
                state = TrainState.load(tmp_path / "resume.safetensors", config)
                break
        finals += [event for event in (*events, *train(state, data, config)) if isinstance(event, FinalEval)][:1]
    final = finals[0]
    assert finals == [final, final]
    assert final.best_step < config.num_steps and final.best_val_loss < final.val_loss
    best = random_model(state.model.config)
    load_checkpoint(tmp_path / snapshot_name(final.best_step), best)
    assert evaluate(best, data.val) == final.best_val_loss


def test_elapsed_time_covers_all_activities_and_continues_after_a_pause(text: str, tmp_path: Path) -> None:
    state, data, config = set_up(text)
    events = train(state, data, config)
    step = next(event for event in events if isinstance(event, Step))
    state.save(tmp_path / "resume.safetensors")
    resumed = TrainState.load(tmp_path / "resume.safetensors", config)
    assert resumed.stopwatch.seconds == state.stopwatch.rounded()
    later = list(train(resumed, data, config))
    elapsed = [event.elapsed for event in (step, *later) if isinstance(event, Step | Eval)]
    assert elapsed == sorted(elapsed) and elapsed[0] >= step.seconds > 0
    end = later[-1]
    assert isinstance(end, End) and sum(end.times.values()) >= elapsed[-1]
    assert end.times["steps"] == max(event.seconds for event in later if isinstance(event, Step))


def test_an_interrupted_evaluation_restores_the_model() -> None:
    model = random_model(ModelConfig(5, 8, 1, 8, context_length=4)).train()
    with pytest.raises(IndexError):
        evaluate(model, torch.full((50,), 5))  # not in the vocabulary
    assert model.training and torch.is_grad_enabled()


def test_without_a_validation_split_val_loss_is_none(text: str) -> None:
    state, data, config = set_up(text[:500], validation_fraction=0.0)
    events = list(train(state, data, config))
    assert all(e.val_loss is None for e in events if isinstance(e, Eval))
    last = next(event for event in reversed(events) if isinstance(event, Eval))
    assert last.train_loss == evaluate(
        state.model, data.train
    )  # on the whole split, because there is no validation split
    assert isinstance(events[-1], End) and events[-1].reason == "completed"


def test_the_learning_rate_warms_up_then_decays() -> None:
    config = TrainConfig(num_steps=100, warmup_steps=10, learning_rate=1.0, final_lr_fraction=0.1)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0 and rates[99] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[10:]))


@given(st.integers(1, 50), st.integers(0, 80))
def test_the_learning_rate_stays_within_bounds(num_steps: int, warmup_steps: int) -> None:
    config = TrainConfig(num_steps=num_steps, warmup_steps=warmup_steps, learning_rate=0.5)
    assert all(0 < learning_rate_at(step, config) <= 0.5 for step in range(num_steps))


def test_only_matrices_decay(text: str) -> None:
    state, _, config = set_up(text, weight_decay=0.5)
    for parameter in state.model.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step(config.warmup_steps)
    for name, parameter in state.model.named_parameters():
        assert (parameter == 1.0).all() == name.endswith(("gain", "bias"))


def test_one_step_matches_adamw(text: str) -> None:
    """Compare the first update with algorithm 2 of Loshchilov & Hutter 2019."""
    state, data, config = set_up(text, dropout=0.0, grad_clip=0)
    model, rate = state.model, learning_rate_at(0, config)
    before = model.blocks[0].feed_forward.up.weight.detach().clone()
    ids, targets = data.batch(config.batch_size, 16, torch.Generator().manual_seed(config.seed))
    F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).backward()
    gradient = model.blocks[0].feed_forward.up.weight.grad.clone()
    events = train(state, data, TrainConfig(**{**vars(config), "log_interval": 1}))
    next(e for e in events if isinstance(e, Step))
    # With bias correction, the first update is g / (|g| + 1e-8).
    expected = before * (1 - rate * config.weight_decay) - rate * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(model.blocks[0].feed_forward.up.weight.detach(), expected, atol=1e-6, rtol=1e-5)


def test_train_with_config_writes_a_folder_to_sample_from(text: str, tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_text(text)
    set_seed(42)
    model = TransformerLanguageModel(tokenizer.vocab_size, 16, 2, 24, context_length=16)
    config = {**TINY, "dropout": 0.0, "vocab_size": tokenizer.vocab_size, "checkpoint_dir": str(tmp_path / "run")}
    result = train_with_config(model, tokenizer.encode(text), config, tokenizer)
    assert result["reason"] == "completed" and result["steps"] == 40
    assert 0 < result["final_loss"] < math.log(tokenizer.vocab_size)
    loaded = load_model(tmp_path / "run" / FINAL_NAME)
    assert_same_weights(loaded.model, model)
    assert loaded.info.val_loss == result["final_val_loss"]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {snapshot_name(step) for step in snapshot_steps(40)} <= names
    assert len([name for name in names if name.startswith("resume")]) == 2
    again = train_with_config(model, tokenizer.encode(text), {**config, "num_steps": 5}, tokenizer)
    assert again["steps"] == 5 and not (tmp_path / "run" / snapshot_name(40)).exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learnin_rate": 1}, "did you mean 'learning_rate'"),
        ({"num_heads": 2}, "num_heads 2 .the model has 4"),
        ({"embedding_dim": 32}, "embedding_dim 32 .the model has 16"),
        ({"vocab_size": 3}, "vocab_size"),
        ({"num_steps": 0}, "num_steps"),
        ({"context_length": 99_999}, "context_length"),
    ],
)
def test_train_with_config_rejects_invalid_arguments(text: str, tmp_path: Path, change: dict, words: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    model = TransformerLanguageModel(tokenizer.vocab_size, 16, 2, 24, context_length=16)
    config = {**TINY, "dropout": 0.0, "checkpoint_dir": str(tmp_path / "run"), **change}
    with pytest.raises(InputError, match=words):
        train_with_config(model, tokenizer.encode(text), config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "tokens", [[], [0], [0] * 17, [0.5] * 100, [[0, 1]] * 50, [99] * 100, [-1] * 100, ["a"] * 100], ids=str
)
def test_invalid_tokens_raise_an_error(tokens: list) -> None:
    model = TransformerLanguageModel(5, 16, 2, 24, context_length=16)
    with pytest.raises(InputError):
        train_with_config(model, tokens, {"num_steps": 5})


@pytest.mark.parametrize("seed", [-1, 2**31, 0.5, True, None])
def test_invalid_seeds_are_rejected(seed: object) -> None:
    with pytest.raises(InputError, match="seed"):
        set_seed(seed)  # type: ignore[arg-type]
