"""Catastrophic overfitting of single-step adversarial training: detected within a few steps, and undone."""

import copy
import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.gateway import TorchAttack
from advforensics.defenses.adversarial import AdversarialTraining
from advforensics.defenses.shared_pass import statistics_kept
from advforensics.store.reading import Batch

log = logging.getLogger(__name__)

MEASUREMENTS = 3


class OverfittingGuard(Callback):
    """Compares accuracy on the adversarial examples of the training with accuracy under a stronger attack.

    In catastrophic overfitting a network is right about the examples of a single-step attack and wrong under any other
    attack (Wong et al., arXiv 2001.03994). Every few steps the guard measures the gap between the two accuracies: the
    first in training mode, in which the network learns, the second in evaluation mode, in which it will be used; batch
    normalisation makes them differ. When the gap is too wide, weights, their average and the optimiser's state return
    to the last step with a small gap, and training continues with the stronger attack (as Li et al., arXiv 2006.03089,
    do for a while).

    It works with every :class:`~advforensics.defenses.adversarial.AdversarialTraining`. It must come after weight
    averaging, so that weights and average belong to the same step. ``training.csv`` has an epoch's mean gap as
    ``overfitting_gap``, and whether the guard has acted as ``overfitting_caught``.

    Args:
        attack: The stronger attack, with several steps.
        every: Steps between two measurements, each on one batch.
        tolerance: The widest allowed gap, 0 to 1, as the mean of the last `MEASUREMENTS`: one batch is too few images.
            A gap of at most half of it counts as small.
    """

    def __init__(self, attack: TorchAttack, every: int, tolerance: float) -> None:
        self.attack = attack
        self.every = every
        self.tolerance = tolerance
        self.caught = 0
        self._gaps: list[float] = []
        self._epoch_gaps: list[float] = []
        self._good_state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a training that is resumed later."""
        return {"caught": self.caught, "gaps": self._gaps, "good": self._good_state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of an interrupted training."""
        self.caught, self._gaps, self._good_state = (state_dict[key] for key in ("caught", "gaps", "good"))

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Check that the defence can be guarded.

        Raises:
            ValueError: If the defence makes no adversarial examples with an attack.
        """
        if not isinstance(module, AdversarialTraining):
            raise ValueError(
                f"defense.guard needs a defence that trains on the adversarial examples of an attack, and"
                f" {type(module).__name__} makes none: set defense.guard=null"
            )

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep the state to return to; after an interruption, train on the attack that was in use."""
        assert isinstance(module, AdversarialTraining)
        if self._good_state is None:
            self._good_state = _state(trainer, module)
        if self.caught:
            module.train_on(self.attack)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Measure the gap."""
        assert isinstance(module, AdversarialTraining)
        if self.caught or trainer.global_step % self.every or module.eps == 0:
            return
        if module.last_examples is None:
            raise ValueError(
                f"defense.guard finds no adversarial examples: {type(module).__name__} must make them with"
                " self.adversarial_examples, or set self.last_examples"
            )
        images, labels = batch
        with torch.no_grad(), statistics_kept(module.detector):
            training_accuracy = _accuracy(module.detector, *module.last_examples)
        examples = self.attack(module.detector, images, labels, module.eps)
        with torch.no_grad(), attackable(module.detector):
            gap = training_accuracy - _accuracy(module.detector, examples, labels)
        gap = trainer.strategy.reduce(gap, reduce_op="mean")
        self._gaps = [*self._gaps[1 - MEASUREMENTS :], float(gap)]
        self._epoch_gaps.append(float(gap))
        mean = sum(self._gaps) / len(self._gaps)
        if mean <= self.tolerance / 2:
            self._good_state = _state(trainer, module)
        if len(self._gaps) < MEASUREMENTS or not mean > self.tolerance:
            return
        log.warning(
            f"step {trainer.global_step}: catastrophic overfitting: accuracy on the examples of {module.attack.name} is"
            f" {100 * mean:.0f} points above that under {self.attack.name} at {255 * module.eps:.2f} levels. Weights"
            f" return to the last step with a small gap; training continues with {self.attack.name}"
        )
        self.caught += 1
        assert self._good_state is not None
        _restore(self._good_state, trainer, module)
        module.train_on(self.attack)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log the gap."""
        # NaN where nothing was measured: otherwise Lightning repeats the last epoch's gap, unless training was resumed.
        gap = sum(self._epoch_gaps) / len(self._epoch_gaps) if self._epoch_gaps else math.nan
        self._epoch_gaps = []
        module.log_dict({"overfitting_gap": gap, "overfitting_caught": float(self.caught)}, sync_dist=True)


def _state(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """Return a copy of weights, their average and the optimiser's state, in the form of a checkpoint."""
    checkpoint: dict[str, Any] = {
        "state_dict": module.state_dict(),
        "optimizers": [optimizer.state_dict()["state"] for optimizer in trainer.optimizers],
    }
    for averaging in _averaging(trainer):
        averaging.on_save_checkpoint(trainer, module, checkpoint)
    return copy.deepcopy(checkpoint)


def _restore(checkpoint: dict[str, Any], trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Restore such a copy, but keep the learning rates."""
    module.load_state_dict(checkpoint["state_dict"])
    for averaging in _averaging(trainer):
        averaging.on_load_checkpoint(trainer, module, checkpoint)
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizers"], strict=True):
        learning_rates = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": copy.deepcopy(state), "param_groups": learning_rates})


def _averaging(trainer: pl.Trainer) -> list[WeightAveraging]:
    return [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]


def _accuracy(detector: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    correct: Tensor = detector(images).argmax(dim=1) == labels
    return correct.float().mean()
