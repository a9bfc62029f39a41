"""Catastrophic overfitting of single-step training: seen within a few steps, and undone."""

import copy
import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch import Tensor, nn

from advforensics.attacks.gateway import Attack, attackable
from advforensics.data import Batch
from advforensics.defenses.adversarial import Adversarial
from advforensics.defenses.shared_pass import statistics_kept

log = logging.getLogger(__name__)

LOOKS = 3


class OverfittingGuard(Callback):
    """Compares, every few steps, accuracy on the twins trained on with accuracy under a real attack.

    A network that has learnt to recognise the pictures of a single-step attack is right about these and nothing else
    (Wong et al., arXiv 2001.03994). It is so in training mode, in which it has learnt, while the attack meets it as it
    will be used: batch normalisation can hide the one from the other. When accuracy on twins leaves the other behind,
    weights, their average and the optimiser go back to where they last agreed, and the training goes on with the real
    attack (as Li et al., arXiv 2006.03089, do for a while). It takes any defence that is an
    :class:`~advforensics.defenses.adversarial.Adversarial`. Put it after weight averaging, so that weights and average
    are of one step. ``training.csv`` tells an epoch's mean lead as ``twins_lead``, and in ``overfitting_caught``
    whether it came to that.

    Args:
        attack: The real one, of several steps; also what is trained on afterwards.
        every: Steps between two looks, each at one batch.
        tolerance: By how much accuracy on twins may exceed accuracy under the attack, 0 to 1, on the mean of
            `LOOKS` looks: one batch is too small to tell. At half of it they still agree.
    """

    def __init__(self, attack: Attack, every: int, tolerance: float) -> None:
        self.attack = attack
        self.every = every
        self.tolerance = tolerance
        self.caught = 0
        self._leads: list[float] = []
        self._leads_of_epoch: list[float] = []
        self._good: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that goes on must know."""
        return {"caught": self.caught, "leads": self._leads, "good": self._good}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on."""
        self.caught, self._leads, self._good = state_dict["caught"], state_dict["leads"], state_dict["good"]

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Refuse what cannot be guarded.

        Raises:
            ValueError: If the defence makes no adversarial twins with an attack.
        """
        if not isinstance(module, Adversarial):
            raise ValueError(
                f"defense.guard compares adversarial twins with an attack, and {type(module).__name__} is no"
                " Adversarial that makes any: set defense.guard=null"
            )

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin where twins and attack agree, or go on as before an interruption."""
        assert isinstance(module, Adversarial)
        if self._good is None:
            self._good = _state(trainer, module)
        if self.caught:
            module.train_on(self.attack)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Look."""
        assert isinstance(module, Adversarial)
        if self.caught or trainer.global_step % self.every or module.eps == 0:
            return
        if module.last_twins is None:
            raise ValueError(
                f"defense.guard: {type(module).__name__} has not told what it learnt from; make twins with self.twins,"
                " or set self.last_twins"
            )
        images, labels = batch
        with torch.no_grad(), statistics_kept(module.detector):
            learnt = _accuracy(module.detector, *module.last_twins)
        found = self.attack(module.detector, images, labels, module.eps)
        with torch.no_grad(), attackable(module.detector):
            lead = learnt - _accuracy(module.detector, found, labels)
        lead = trainer.strategy.reduce(lead, reduce_op="mean")
        self._leads = [*self._leads[1 - LOOKS :], float(lead)]
        self._leads_of_epoch.append(float(lead))
        mean = sum(self._leads) / len(self._leads)
        if mean <= self.tolerance / 2:
            self._good = _state(trainer, module)
        if len(self._leads) < LOOKS or not mean > self.tolerance:
            return
        log.warning(
            "step %d: %.0f%% more are right on the twins of %s than under %s at %.2f levels: catastrophic overfitting."
            " Going back to where they agreed, and on with %s",
            trainer.global_step,
            100 * mean,
            module.attack.name,
            self.attack.name,
            255 * module.eps,
            self.attack.name,
        )
        self.caught += 1
        assert self._good is not None
        _restore(self._good, trainer, module)
        module.train_on(self.attack)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tell."""
        # Said of every epoch, NaN where there was no look: else Lightning repeats the last one's, unless interrupted.
        lead = sum(self._leads_of_epoch) / len(self._leads_of_epoch) if self._leads_of_epoch else math.nan
        self._leads_of_epoch = []
        module.log_dict({"twins_lead": lead, "overfitting_caught": float(self.caught)}, sync_dist=True)


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
    """Go back to it; learning rates go on."""
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
