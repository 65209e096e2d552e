"""All that changes while a model is trained, as one object that can be saved and taken up again bit by bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nanollm.config import ModelConfig, TrainConfig, current_names, to_dict
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.train.checkpoint import read_tensors, require_finite, require_size, write_tensors
from nanollm.train.distributed import SINGLE_PROCESS, Ranks
from nanollm.train.optim import Optimizer

RECENT = 50  # final_loss is the mean of so many last steps
_RUNNING = ("loss_sum", "grad_norm_sum", "recent")
_SCALARS = ("step", "seconds", "loss_count", "train_loss", "val_loss", "best_val_loss", "best_step")


@dataclass
class TrainState:
    """All that changes while training, and so all that a resume file holds."""

    model: TransformerLanguageModel
    optimizer: Optimizer
    data_generator: torch.Generator  # draws the windows
    global_random: Tensor  # the device's random state, which dropout draws from; train() shields it from its driver
    # What follows for every step stays on the device, or each step would have to be waited for.
    loss_sum: Tensor  # over the steps since the last Step event
    grad_norm_sum: Tensor  # over the same steps: finite as long as every gradient was
    recent: Tensor  # losses of the last steps
    ranks: Ranks = SINGLE_PROCESS
    step: int = 0
    seconds: float = 0.0
    loss_count: int = 0
    train_loss: float | None = None  # as last evaluated
    val_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None

    @classmethod
    def new(cls, model: TransformerLanguageModel, config: TrainConfig, ranks: Ranks = SINGLE_PROCESS) -> TrainState:
        """The state before the first step; everything random from here on follows from config.seed.

        Ranks draw the same windows, and each its own dropout.
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
        """Take note of one more step: its loss and its gradient's length, both () and neither waited for."""
        self.step += 1
        self.loss_sum = self.loss_sum + loss
        self.grad_norm_sum = self.grad_norm_sum + grad_norm
        self.loss_count += 1
        self.recent[self.step % RECENT] = loss

    def mean_loss(self) -> float:
        """Mean training loss since the last Step event, nats a character; waits for the device."""
        return float(self.loss_sum) / self.loss_count

    def reset_running_loss(self) -> None:
        """Forget the losses and gradients that a Step event has told."""
        self.loss_sum, self.grad_norm_sum = torch.zeros_like(self.loss_sum), torch.zeros_like(self.grad_norm_sum)
        self.loss_count = 0

    def final_loss(self) -> float:
        """Mean training loss of the last 50 steps (of all, if there were fewer), nats a character."""
        return float(self.recent.nanmean())

    def is_finite(self) -> bool:
        """Whether every weight is a number, and every gradient since the last Step event was: if not, it has diverged.

        A step whose gradient is not finite has harmed nothing, but whoever skips learns nothing either.
        """
        weights = torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()])
        return bool(weights.all() & self.grad_norm_sum.isfinite())

    def save(self, path: str | Path) -> None:
        """Write a file from which load() goes on as if nothing had happened.

        While the first of several ranks saves, the others must call gather_random_states().
        Raises OSError; InputError, having written nothing, if a weight or an optimizer's number is not finite.
        """
        tensors = {f"model.{name}": t.detach().cpu().contiguous() for name, t in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": t.detach().cpu().contiguous() for name, t in self.optimizer.tensors().items()}
        require_finite(tensors, "Training has come to numbers that are not finite, so it was not saved")
        tensors |= {"data_random": self.data_generator.get_state()}
        tensors |= self.gather_random_states()
        tensors |= {name: getattr(self, name).cpu() for name in _RUNNING}
        write_tensors(path, tensors, {"model": to_dict(self.model.config), **{k: getattr(self, k) for k in _SCALARS}})

    def gather_random_states(self) -> dict[str, Tensor]:
        """What every rank's dropout goes on from, by the name in a resume file."""
        return {_random_name(rank): state for rank, state in enumerate(self.ranks.all_gather(self.global_random))}

    @classmethod
    def load(
        cls, path: str | Path, config: TrainConfig, device: torch.device | str = "cpu", ranks: Ranks = SINGLE_PROCESS
    ) -> TrainState:
        """The state that save() wrote, to go on with: bit by bit, on such a device and as many ranks as saved it.

        Raises InputError if the file is missing, damaged or not a resume file.
        """
        tensors, facts = read_tensors(path)
        try:
            weights = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
            model_config = ModelConfig(**current_names(facts["model"]))
            require_size(path, model_config, weights)
            model = TransformerLanguageModel.from_config(model_config).to(device)
            model.load_state_dict(weights)
            state = cls.new(model, config, ranks)
            state.optimizer.load({k[10:]: t for k, t in tensors.items() if k.startswith("optimizer.")})
            state.data_generator.set_state(tensors["data_random"])
            saved = tensors.get(_random_name(ranks.rank), state.global_random)  # there may have been fewer ranks
            if saved.shape == state.global_random.shape:  # another kind of device draws otherwise
                state.global_random = saved
            for name in filter(tensors.__contains__, _RUNNING):  # older files lack one
                setattr(state, name, tensors[name].to(device))
            for name in _SCALARS:
                setattr(state, name, facts[name])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{Path(path).name} is not a file that training can go on from.") from error
        return state


def _random_name(rank: int) -> str:
    return f"global_random.{rank}" if rank else "global_random"
