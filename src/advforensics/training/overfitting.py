"""Catastrophic overfitting of single-step training: seen within a few steps, and undone."""

import copy
import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from advforensics.attacks.gateway import Attack, attackable
from advforensics.data import Batch
from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.shared_pass import statistics_kept

log = logging.getLogger(__name__)

LOOKS = 3


class OverfittingGuard(Callback):
    """Compares, every few steps, accuracy on the twins trained on with accuracy under a real attack.

    A network that has learnt to recognise the pictures of a single-step attack is right about these and nothing else
    (Wong et al., arXiv 2001.03994). It is so in training mode, in which it has learnt, while the attack meets it as it
    will be used: batch normalisation can hide the one from the other. When accuracy on twins leaves the other behind,
    weights and optimiser go back to where they last agreed, and the training goes on with the real attack (as Li et
    al., arXiv 2006.03089, do for a while). ``training.csv`` tells an epoch's mean lead as ``twins_lead``, and in
    ``overfitting_caught`` whether it came to that.

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

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Train on the real attack if it has come to that before an interruption."""
        if self.caught:
            self._train_on_the_attack(module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Look."""
        assert isinstance(module, AdversarialFusion)
        if self.caught or trainer.global_step % self.every or module.eps == 0:
            return
        assert module.last_twins is not None
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
            self._good = copy.deepcopy(self._state(trainer, module))
        if mean <= self.tolerance or len(self._leads) < LOOKS:
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
        if self._good is not None:
            module.detector.load_state_dict(self._good["detector"])
            for optimizer, state in zip(trainer.optimizers, self._good["optimizers"], strict=True):
                schedule = optimizer.state_dict()["param_groups"]  # goes on
                optimizer.load_state_dict({"state": copy.deepcopy(state), "param_groups": schedule})
        self._train_on_the_attack(module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tell."""
        # Said of every epoch, NaN where there was no look: else Lightning repeats the last one's, unless interrupted.
        lead = sum(self._leads_of_epoch) / len(self._leads_of_epoch) if self._leads_of_epoch else math.nan
        self._leads_of_epoch = []
        module.log_dict({"twins_lead": lead, "overfitting_caught": float(self.caught)}, sync_dist=True)

    def _state(self, trainer: pl.Trainer, module: AdversarialFusion) -> dict[str, Any]:
        optimizers = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
        return {"detector": module.detector.state_dict(), "optimizers": optimizers}

    def _train_on_the_attack(self, module: pl.LightningModule) -> None:
        assert isinstance(module, AdversarialFusion)
        module.attack, module.reuse_gradient = self.attack, False


def _accuracy(detector: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = detector(images).argmax(dim=1) == labels
    return right.float().mean()
