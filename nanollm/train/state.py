"""The complete state of a training: one object that can be saved and resumed bit-identically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nanollm.config import ModelConfig, TrainConfig, current_names, to_dict
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.train.checkpoint import read_tensors, require_finite, require_size, write_tensors
from nanollm.train.distributed import SINGLE_PROCESS, Ranks
from nanollm.train.evaluation import WindowLosses
from nanollm.train.optim import Optimizer
from nanollm.train.stopwatch import Stopwatch

RECENT = 50  # final_loss() is the mean over this many last steps
_RUNNING = ("loss_sum", "grad_norm_sum", "recent")
_SCALARS = ("step", "loss_count", "train_loss", "val_loss", "best_val_loss", "best_step")


@dataclass(frozen=True)
class BestModel:
    """The model with the lowest estimated validation loss so far, to be measured exactly at the end of training."""

    losses: WindowLosses
    weights: dict[str, Tensor]

    @classmethod
    def copy_of(cls, model: TransformerLanguageModel, losses: WindowLosses) -> BestModel:
        """Copy the weights of a model with these validation losses."""
        return cls(losses, {name: tensor.detach().clone() for name, tensor in model.state_dict().items()})

    def model(self, like: TransformerLanguageModel) -> TransformerLanguageModel:
        """Return a new model with these weights, with the configuration and on the device of `like`."""
        model = TransformerLanguageModel.from_config(like.config).to(like.embedding.weight.device)
        model.load_state_dict(self.weights)
        return model

    def tensors(self) -> dict[str, Tensor]:
        """The contents as tensors for a resume file, by name."""
        losses = {"sums": torch.from_numpy(self.losses.sums), "characters": torch.from_numpy(self.losses.characters)}
        total = {"total": torch.tensor(self.losses.total_windows)}
        return {f"best.{name}": t for name, t in {**losses, **total, **_prefixed("weights.", self.weights)}.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> BestModel | None:
        """Read what tensors() wrote into a resume file; None if the file has no best model."""
        if "best.sums" not in tensors:
            return None
        sums, characters, total = (tensors[f"best.{name}"] for name in ("sums", "characters", "total"))
        return cls(
            WindowLosses(sums.numpy(), characters.numpy(), int(total)), _without_prefix("best.weights.", tensors)
        )


@dataclass
class TrainState:
    """Everything that changes during training, which is also the content of a resume file."""

    model: TransformerLanguageModel
    optimizer: Optimizer
    data_generator: torch.Generator  # draws the training windows
    global_random: Tensor  # random state of the device, used by dropout; train() isolates it from its caller
    # Per-step values stay on the device: reading them would synchronize at every step.
    loss_sum: Tensor  # sum of the losses since the last Step event
    grad_norm_sum: Tensor  # over the same steps; finite if every gradient was
    recent: Tensor  # (RECENT,) losses of the last steps
    ranks: Ranks = SINGLE_PROCESS
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    step: int = 0
    loss_count: int = 0
    train_loss: float | None = None  # from the last evaluation
    val_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    best: BestModel | None = None  # only if the evaluations are estimates

    @classmethod
    def new(cls, model: TransformerLanguageModel, config: TrainConfig, ranks: Ranks = SINGLE_PROCESS) -> TrainState:
        """Create the state before the first step. All randomness of the training derives from config.seed.

        All ranks draw the same windows, but each has its own dropout masks.
        """
        device = model.embedding.weight.device
        return cls(
            model,
            Optimizer(model, config),
            data_generator=torch.Generator().manual_seed(config.seed),
            global_random=torch.Generator(device).manual_seed(config.seed + ranks.rank).get_state(),
            loss_sum=torch.zeros((), device=device),
            grad_norm_sum=torch.zeros((), device=device),
            recent=torch.full((RECENT,), torch.nan, device=device),
            ranks=ranks,
        )

    def record_step(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Record a step's loss and gradient norm, both scalars () on the device, without synchronizing."""
        self.step += 1
        self.loss_sum = self.loss_sum + loss
        self.grad_norm_sum = self.grad_norm_sum + grad_norm
        self.loss_count += 1
        self.recent[self.step % RECENT] = loss

    def mean_loss(self) -> float:
        """Mean training loss since the last Step event, in nats per character. Synchronizes with the device."""
        return float(self.loss_sum) / self.loss_count

    def reset_running_loss(self) -> None:
        """Reset the running loss and gradient norm after logging them."""
        self.loss_sum, self.grad_norm_sum = torch.zeros_like(self.loss_sum), torch.zeros_like(self.grad_norm_sum)
        self.loss_count = 0

    def final_loss(self) -> float:
        """Mean training loss of the last 50 steps (or of all, if there were fewer), in nats per character."""
        return float(self.recent.nanmean())

    def is_finite(self) -> bool:
        """Whether all weights, and all gradients since the last Step event, are finite. If not, training has diverged.

        A step with a non-finite gradient is skipped, so the weights remain valid, but nothing is learned either.
        """
        weights = torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()])
        return bool(weights.all() & self.grad_norm_sum.isfinite())

    def save(self, path: str | Path) -> None:
        """Write a resume file. load() continues from it bit-identically.

        With several ranks, only the main one saves, and the others must call gather_random_states() meanwhile.
        Raises OSError, or InputError (and writes nothing) if a weight or an optimizer value is not finite.
        """
        tensors = _prefixed("model.", self.model.state_dict()) | _prefixed("optimizer.", self.optimizer.tensors())
        tensors |= self.best.tensors() if self.best else {}
        require_finite(tensors, "The training state has values that are not finite, so it was not saved")
        tensors |= {"data_random": self.data_generator.get_state()}
        tensors |= self.gather_random_states()
        tensors |= {name: getattr(self, name).cpu() for name in _RUNNING}
        facts = {name: getattr(self, name) for name in _SCALARS}
        write_tensors(path, tensors, {"model": to_dict(self.model.config), **facts, "times": self.stopwatch.rounded()})

    def gather_random_states(self) -> dict[str, Tensor]:
        """Collect the random states of all ranks, by their name in a resume file."""
        return {_random_name(rank): state for rank, state in enumerate(self.ranks.all_gather(self.global_random))}

    @classmethod
    def load(
        cls, path: str | Path, config: TrainConfig, device: torch.device | str = "cpu", ranks: Ranks = SINGLE_PROCESS
    ) -> TrainState:
        """Read a resume file. Training continues bit-identically on the same kind of device and number of ranks.

        Raises InputError if the file is missing, damaged or not a resume file.
        """
        tensors, facts = read_tensors(path)
        try:
            weights = _without_prefix("model.", tensors)
            model_config = ModelConfig(**current_names(facts["model"]))
            require_size(path, model_config, weights)
            model = TransformerLanguageModel.from_config(model_config).to(device)
            model.load_state_dict(weights)
            state = cls.new(model, config, ranks)
            state.optimizer.load(_without_prefix("optimizer.", tensors))
            state.best = BestModel.from_tensors(tensors)
            state.stopwatch = Stopwatch(facts.get("times") or {"steps": facts["seconds"]})  # version 0.1 had no times
            state.data_generator.set_state(tensors["data_random"])
            saved = tensors.get(_random_name(ranks.rank), state.global_random)  # the file may have fewer ranks
            if saved.shape == state.global_random.shape:  # not so for another kind of device
                state.global_random = saved
            for name in filter(tensors.__contains__, _RUNNING):  # older files do not have all of them
                setattr(state, name, tensors[name].to(device))
            for name in _SCALARS:
                setattr(state, name, facts[name])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{Path(path).name} is not a file from which training can resume: use another one."
            ) from error
        return state


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _random_name(rank: int) -> str:
    return f"global_random.{rank}" if rank else "global_random"
