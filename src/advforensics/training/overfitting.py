"""Catastrophic overfitting of single-step training: seen within a few steps, and undone."""

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
    """Compares accuracy on the adversarial examples trained on with accuracy under a stronger attack.

    A network that has learnt to recognise the examples of a single-step attack is right about these and nothing else
    (catastrophic overfitting: Wong et al., arXiv 2001.03994). The guard measures both every few steps: the first in
    training mode, in which the network has learnt, the second in evaluation mode, in which it will be used. Batch
    normalisation can hide one from the other. When the gap is too wide, weights, their average and the optimiser go
    back to where the two last agreed, and training goes on with the stronger attack (as Li et al., arXiv 2006.03089, do
    for a while).

    It takes any defence that is an :class:`~advforensics.defenses.adversarial.AdversarialTraining`. Put it after weight
    averaging, so that weights and average are of one step. ``training.csv`` holds an epoch's mean gap as
    ``overfitting_gap``, and whether the guard has acted as ``overfitting_caught``.

    Args:
        attack: The stronger attack, of several steps; training goes on with it.
        every: Steps between two measurements, each on one batch.
        tolerance: The widest gap, 0 to 1, of the mean of `MEASUREMENTS`: one batch is too small to tell. At half of it
            the two still agree.
    """

    def __init__(self, attack: TorchAttack, every: int, tolerance: float) -> None:
        self.attack = attack
        self.every = every
        self.tolerance = tolerance
        self.caught = 0
        self._gaps: list[float] = []
        self._gaps_of_epoch: list[float] = []
        self._good: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"caught": self.caught, "gaps": self._gaps, "good": self._good}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume."""
        self.caught, self._gaps, self._good = state_dict["caught"], state_dict["gaps"], state_dict["good"]

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Refuse a defence without adversarial examples.

        Raises:
            ValueError: If the defence makes no adversarial examples with an attack.
        """
        if not isinstance(module, AdversarialTraining):
            raise ValueError(
                f"defense.guard compares adversarial examples with an attack, and {type(module).__name__} makes none:"
                " set defense.guard=null"
            )

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin where the two agree, or go on as before an interruption."""
        assert isinstance(module, AdversarialTraining)
        if self._good is None:
            self._good = _state(trainer, module)
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
                f"defense.guard: {type(module).__name__} does not say what it learnt from; make examples with"
                " self.adversarial_examples, or set self.last_examples"
            )
        images, labels = batch
        with torch.no_grad(), statistics_kept(module.detector):
            learnt = _accuracy(module.detector, *module.last_examples)
        found = self.attack(module.detector, images, labels, module.eps)
        with torch.no_grad(), attackable(module.detector):
            gap = learnt - _accuracy(module.detector, found, labels)
        gap = trainer.strategy.reduce(gap, reduce_op="mean")
        self._gaps = [*self._gaps[1 - MEASUREMENTS :], float(gap)]
        self._gaps_of_epoch.append(float(gap))
        mean = sum(self._gaps) / len(self._gaps)
        if mean <= self.tolerance / 2:
            self._good = _state(trainer, module)
        if len(self._gaps) < MEASUREMENTS or not mean > self.tolerance:
            return
        log.warning(
            "step %d: catastrophic overfitting. Accuracy on the examples of %s is %.0f points above that under %s at"
            " %.2f levels. Going back to where they agreed, and on with %s",
            trainer.global_step,
            module.attack.name,
            100 * mean,
            self.attack.name,
            255 * module.eps,
            self.attack.name,
        )
        self.caught += 1
        assert self._good is not None
        _restore(self._good, trainer, module)
        module.train_on(self.attack)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log the gap."""
        # NaN where nothing was measured: else Lightning repeats the last epoch's, unless training was interrupted.
        gap = sum(self._gaps_of_epoch) / len(self._gaps_of_epoch) if self._gaps_of_epoch else math.nan
        self._gaps_of_epoch = []
        module.log_dict({"overfitting_gap": gap, "overfitting_caught": float(self.caught)}, sync_dist=True)


def _state(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """Return what a training has learnt, as a checkpoint would hold it: weights, their average, the optimiser's."""
    checkpoint: dict[str, Any] = {
        "state_dict": module.state_dict(),
        "optimizers": [optimizer.state_dict()["state"] for optimizer in trainer.optimizers],
    }
    for averaging in _averaging(trainer):
        averaging.on_save_checkpoint(trainer, module, checkpoint)
    return copy.deepcopy(checkpoint)


def _restore(checkpoint: dict[str, Any], trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Restore that state; learning rates go on."""
    module.load_state_dict(checkpoint["state_dict"])
    for averaging in _averaging(trainer):
        averaging.on_load_checkpoint(trainer, module, checkpoint)
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizers"], strict=True):
        schedule = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": copy.deepcopy(state), "param_groups": schedule})


def _averaging(trainer: pl.Trainer) -> list[WeightAveraging]:
    return [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]


def _accuracy(detector: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = detector(images).argmax(dim=1) == labels
    return right.float().mean()
