"""Ablation: outputs are replaced as defined, both ways of measuring agree, and planted heads are found."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.explain.ablation import (
    Part,
    ablate,
    first_difference,
    load_means,
    measure_ablation,
    measure_means,
    rank_heads,
    save_means,
)
from nanollm.explain.context_window import blocks
from nanollm.inference.generate import generate
from nanollm.inference.torch_engine import TorchEngine
from nanollm.model import TransformerLanguageModel
from nanollm.runs.process.worker import work
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_model, write_tensors
from tests.conftest import random_model
from tests.planted import Planted
from tests.strategies import model_configs

SHAPE = ModelConfig(7, embedding_dim=12, num_layers=3, ffn_hidden_dim=10, num_heads=3, context_length=9)


def random_ids(config: ModelConfig, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(config.vocab_size, size=length)


def all_parts(config: ModelConfig) -> list[Part]:
    heads = [Part("head", layer, head) for layer in range(config.num_layers) for head in range(config.heads)]
    return heads + [Part(kind, layer) for kind in ("feed_forward", "layer") for layer in range(config.num_layers)]


def logits(model: TransformerLanguageModel, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(ids)[None])[0].numpy()


class TestAblate:
    @given(model_configs(), st.booleans(), st.data())
    def test_an_ablated_part_always_outputs_its_mean(
        self, config: ModelConfig, mean: bool, data: st.DataObject
    ) -> None:
        """Checked with forward hooks on the outputs that the copy's blocks add to the residual stream."""
        model, ids = random_model(config), random_ids(config, 9 * config.context_length)
        means = measure_means(model, ids) if mean else None
        part = data.draw(st.sampled_from([p for p in all_parts(config) if p.kind != "head"]))
        block, added = blocks(ablate(model, [part], means))[part.layer], []
        for writer in (block.attention.output, block.feed_forward.down):
            writer.register_forward_hook(lambda module, inputs, output: added.append(output))
        block(torch.randn(2, config.context_length, config.embedding_dim), None, 0, None, None)
        attention, feed_forward = (x.detach().numpy() for x in added)
        zero = np.zeros(config.embedding_dim)
        expected = means.feed_forwards[part.layer] if means else zero
        np.testing.assert_allclose(feed_forward, np.broadcast_to(expected, feed_forward.shape), atol=1e-5)
        if part.kind == "layer":
            bias = blocks(model)[part.layer].attention.output.bias.detach().numpy()
            expected = means.heads[part.layer].sum(axis=0) + bias if means else zero
            np.testing.assert_allclose(attention, np.broadcast_to(expected, attention.shape), atol=1e-5)

    @given(model_configs(), st.booleans())
    def test_ablating_a_layer_equals_ablating_all_of_its_parts(self, config: ModelConfig, mean: bool) -> None:
        model, ids = random_model(config), random_ids(config, config.context_length)
        for block in blocks(model):
            block.attention.output.bias.data.zero_()  # the bias belongs to the layer but to no head
        means = measure_means(model, random_ids(config, 50)) if mean else None
        parts = [p for p in all_parts(config) if p.layer == 0 and p.kind != "layer"]
        whole = logits(ablate(model, [Part("layer", 0)], means), ids)
        np.testing.assert_allclose(logits(ablate(model, parts, means), ids), whole, atol=1e-4)
        # a part that is listed itself and as part of its layer is ablated once
        np.testing.assert_array_equal(logits(ablate(model, [*parts, Part("layer", 0)], means), ids), whole)

    def test_without_layers_the_prediction_depends_on_the_last_character_only(self) -> None:
        model, ids = random_model(SHAPE), random_ids(SHAPE, 9)
        off = ablate(model, [Part("layer", layer) for layer in range(3)])
        with torch.no_grad():
            expected = model.unembed(model.embedding(torch.from_numpy(ids)))
        np.testing.assert_allclose(logits(off, ids), expected.numpy(), atol=1e-5)

    @given(model_configs(), st.data())
    def test_mean_ablation_of_a_constant_output_changes_nothing(self, config: ModelConfig, data: st.DataObject) -> None:
        """All characters get the same embedding, so all outputs equal their means."""
        model = random_model(config)
        model.embedding.weight.data[:] = torch.randn(config.embedding_dim)
        if model.positions is not None:
            model.positions.weight.data.zero_()
        ids = random_ids(config, config.context_length)
        parts = data.draw(st.lists(st.sampled_from(all_parts(config)), max_size=4))
        means = measure_means(model, random_ids(config, 60))
        np.testing.assert_allclose(logits(ablate(model, parts, means), ids), logits(model, ids), atol=1e-3, rtol=1e-3)

    def test_the_copy_runs_on_every_engine_and_the_original_is_unchanged(self) -> None:
        model = random_model(SHAPE).train()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        random_state, ids = torch.get_rng_state(), random_ids(SHAPE, 9)
        means = measure_means(model, random_ids(SHAPE, 100))
        ablated = ablate(model, [Part("head", 1, 2), Part("feed_forward", 0)], means)
        expected = logits(ablated, ids)[-1]
        np.testing.assert_allclose(TorchEngine(ablated).read(ids[:, None])[0], expected, atol=1e-4)
        written = next(generate(ablated, ids, max_new_tokens=1, seed=3))  # numpy engine
        probability = torch.from_numpy(expected).softmax(dim=-1)[written.id].item()
        assert written.probability == pytest.approx(probability, abs=1e-4)
        measure_ablation(model, CharTokenizer("abcdefg"), "abc", [Part("layer", 1)], means)
        next(rank_heads(model, ids, means))
        assert model.training and not ablated.training
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert torch.equal(torch.get_rng_state(), random_state)

    @pytest.mark.parametrize(
        "part", [Part("head", 0, 3), Part("head", 3, 0), Part("layer", -1), Part("feed_forward", 9), Part("nose", 0)]
    )
    def test_parts_that_the_model_does_not_have_are_rejected(self, part: Part) -> None:
        with pytest.raises(InputError, match=r"layers 1 to 3 with heads 1 to 3"):
            ablate(random_model(SHAPE), [part])


class TestMeans:
    @given(model_configs())
    def test_means_equal_the_average_block_outputs(self, config: ModelConfig) -> None:
        """Compared with forward hooks; the output of attention is the sum over its heads plus the bias."""
        model, T = random_model(config), config.context_length
        ids = random_ids(config, 7 * T + 1)
        outputs: dict[tuple[int, str], torch.Tensor] = {}
        for layer, block in enumerate(blocks(model)):
            for name, module in (("attention", block.attention), ("feed_forward", block.feed_forward)):
                module.register_forward_hook(
                    lambda module, inputs, output, at=(layer, name): outputs.__setitem__(at, output.detach())
                )
        with torch.no_grad():
            model(torch.from_numpy(ids[:-1].reshape(7, T)))
        expected = {at: output.mean(dim=(0, 1)).numpy() for at, output in outputs.items()}
        means = measure_means(model, ids)
        assert means.characters == 7 * T
        for layer, block in enumerate(blocks(model)):
            attention = means.heads[layer].sum(axis=0) + block.attention.output.bias.detach().numpy()
            np.testing.assert_allclose(attention, expected[layer, "attention"], atol=1e-4)
            np.testing.assert_allclose(means.feed_forwards[layer], expected[layer, "feed_forward"], atol=1e-4)

    def test_means_survive_saving_and_loading(self, tmp_path: Path) -> None:
        model = random_model(SHAPE)
        means = measure_means(model, random_ids(SHAPE, 100))
        save_means(tmp_path / "means.safetensors", means)
        again = load_means(tmp_path / "means.safetensors")
        np.testing.assert_array_equal(again.heads, means.heads)
        np.testing.assert_array_equal(again.feed_forwards, means.feed_forwards)
        assert again.characters == means.characters
        with pytest.raises(InputError, match="another shape"):
            ablate(random_model(ModelConfig(7, 8, 3, 10)), [], again)

    def test_files_without_means_are_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no saved mean outputs"):
            load_means(tmp_path / "means.safetensors")
        write_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, {})
        with pytest.raises(InputError, match="no valid mean outputs"):
            load_means(tmp_path / "other.safetensors")

    @pytest.mark.parametrize("ids", [[], [1], [0, 7], [-1, 0], [0.5, 1], [[1, 2]]])
    def test_invalid_ids_are_rejected(self, ids: list) -> None:
        with pytest.raises(InputError):
            measure_means(random_model(SHAPE), ids)


class TestMeasureAblation:
    def test_the_original_predictions_are_those_of_the_model(self) -> None:
        model, tokenizer = random_model(SHAPE), CharTokenizer("abcdefg")
        shown = measure_ablation(model, tokenizer, "gfedcbaabcd", [Part("head", 0, 1), Part("feed_forward", 2)])
        assert (shown.text, shown.skipped) == ("edcbaabcd", 2)
        assert shown.parts == (Part("feed_forward", 2), Part("head", 0, 1))  # sorted
        raw = torch.from_numpy(logits(model, tokenizer.encode(shown.text).astype(np.int64)))
        expected = -raw.log_softmax(dim=-1)[torch.arange(8), torch.from_numpy(tokenizer.encode(shown.text)[1:]).long()]
        np.testing.assert_allclose(shown.original.losses, expected, atol=1e-5)
        np.testing.assert_allclose(shown.original.next_probabilities, raw[-1].softmax(dim=-1), atol=1e-6)
        for part, alone in zip(shown.parts, shown.alone, strict=True):
            again = measure_ablation(model, tokenizer, shown.text, [part])
            np.testing.assert_array_equal(again.together.losses, alone.losses)
        assert shown.together.loss != shown.original.loss

    def test_ablating_nothing_changes_nothing_and_one_character_has_no_loss(self) -> None:
        shown = measure_ablation(random_model(SHAPE), CharTokenizer("abcdefg"), "a", [])
        assert math.isnan(shown.original.loss) and shown.alone == ()
        np.testing.assert_array_equal(shown.together.next_probabilities, shown.original.next_probabilities)
        np.testing.assert_allclose(shown.original.next_probabilities.sum(), 1, atol=1e-6)

    def test_redundant_heads_matter_only_together(self) -> None:
        """Either of two equal heads suffices for confident predictions, so only ablating both raises the loss much."""
        model = copying_model().model
        tokenizer, text = CharTokenizer("abcd"), "abcdabcdabcd"
        shown = measure_ablation(model, tokenizer, text, [Part("head", 0, 0), Part("head", 0, 1)])
        rise = [predictions.loss - shown.original.loss for predictions in (*shown.alone, shown.together)]
        assert shown.original.loss < 0.02 and rise[0] < 0.2 and rise[1] < 0.2 and rise[2] > 5 * (rise[0] + rise[1])

    def test_first_difference(self) -> None:
        assert first_difference("abc", "abd") == 2
        assert first_difference("abc", "abc") is None
        assert first_difference("", "a") == 0 == first_difference("a", "")


class TestRanking:
    @given(model_configs(), st.booleans())
    def test_ranking_from_traces_agrees_with_ablated_copies(self, config: ModelConfig, mean: bool) -> None:
        model, T = random_model(config), config.context_length
        ids = random_ids(config, 5 * T + 1)
        means = measure_means(model, ids) if mean else None
        inputs, targets = torch.from_numpy(ids[:-1].reshape(5, T)), torch.from_numpy(ids[1:].reshape(5, T))

        def window_losses(some: TransformerLanguageModel) -> np.ndarray:
            with torch.no_grad():
                chosen = some(inputs).double().log_softmax(dim=-1).gather(2, targets[..., None])[..., 0]
            return -chosen.mean(dim=1).numpy()

        effects = list(rank_heads(model, ids, means))
        assert [e.part for e in effects] == [p for p in all_parts(config) if p.kind == "head"]
        for effect in effects:
            rise = window_losses(ablate(model, [effect.part], means)) - window_losses(model)
            assert effect.increase == pytest.approx(rise.mean(), abs=1e-4)
            assert effect.error == pytest.approx(rise.std(ddof=1) / math.sqrt(5), abs=1e-4)

    def test_only_the_head_that_writes_has_an_effect(self) -> None:
        planted = copying_model()
        model = planted.writes(0, 1, torch.zeros(4, planted.D)).model  # the second head writes nothing
        ids = np.tile(np.arange(4), 40)
        first, second = rank_heads(model, ids, measure_means(model, ids))
        assert first.increase > 1 and first.increase > 20 * first.error
        assert second.increase == pytest.approx(0, abs=1e-6)

    def test_ranking_can_be_closed_and_a_single_window_gives_nan(self) -> None:
        model = random_model(SHAPE)
        ranking = rank_heads(model, random_ids(SHAPE, 10))
        assert math.isnan(next(ranking).error)
        ranking.close()
        assert torch.is_grad_enabled()
        assert len(list(rank_heads(model, random_ids(SHAPE, 4)))) == 9  # a text shorter than the window
        with pytest.raises(InputError, match="two characters"):
            rank_heads(model, [1])


SETTINGS = {
    **{"embedding_dim": 16, "num_layers": 1, "ffn_hidden_dim": 16, "context_length": 16, "batch_size": 4},
    **{"num_steps": 30, "eval_interval": 3, "threads": 1, "learning_rate": 1e-2, "warmup_steps": 0},
}


class TestOfARun:
    def test_every_snapshot_has_its_means_and_no_others_are_left(
        self, store: RunStore, corpora: CorpusStore, text: str
    ) -> None:
        run = store.create(settings=SETTINGS, corpus=corpora.add_text(text[:4000], "tale.txt"))
        assert work(run, corpora.root).state == "completed"
        kept = {path.name for path in run.folder.glob("means_*")}
        assert kept == {s.means_path.name for s in run.snapshots()} and run.snapshots()
        last = run.snapshot()
        model = load_model(last.path).model
        ids = corpora.encoded(str(run.corpus["sha256"]))[1]
        held_out = ids[len(ids) - int(len(ids) * run.train_config.validation_fraction) :]
        expected = measure_means(model, held_out)
        np.testing.assert_allclose(load_means(last.means_path).heads, expected.heads, atol=1e-6)

    def test_training_completes_if_means_cannot_be_saved(
        self, store: RunStore, corpora: CorpusStore, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("nanollm.runs.process.training.save_means", fail)
        run = store.create(settings=SETTINGS, corpus=corpora.add_text(text[:4000], "tale.txt"))
        assert work(run, corpora.root).state == "completed"
        assert run.snapshots() and not list(run.folder.glob("means_*"))


def copying_model() -> Planted:
    """Continues abcdabcd…: each of two heads attends to the current character and writes the next one."""
    planted = Planted(vocab_size=4, context_length=12)
    for head in range(2):
        planted.back(0, head, 0).writes(0, head, 6 * planted.character.roll(-1, 0))
    return planted
