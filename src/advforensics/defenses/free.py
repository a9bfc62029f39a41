"""Free adversarial training: one backward pass updates the weights and the perturbation."""

from typing import Any

import torch
from torch import Tensor

from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.shared_pass import shared_pass


class Free(Baseline):
    r"""Minimises :math:`L(x + \delta)`, while the same backward pass raises the loss in δ: a step costs one pass.

    Every batch is used several times in a row (``defense.replays``); an epoch has the usual number of steps. δ is kept
    from step to step, also when the batch changes. Shafahi et al., arXiv 1904.12843. There is no attack that a stronger
    one could replace, so `OverfittingGuard` does not work with this defence.

    Args:
        eps_levels: Radius of δ at full strength, in levels (1/255), L∞.
        warmup: Share of the training over which the radius grows linearly from 0.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.
    """

    def __init__(self, eps_levels: float, warmup: float, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.eps_levels = eps_levels
        self.warmup = warmup
        self.delta: Tensor | None = None

    def on_train_epoch_start(self) -> None:
        """Set δ = 0, so that a training resumed after an interruption is the same as one that ran through."""
        self.delta = None

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the perturbed images, and update δ."""
        eps = self.eps_levels * LEVEL * self.warmup_factor(self.warmup)
        delta = torch.zeros_like(images) if self.delta is None else self.delta
        loss, gradients = shared_pass(self.detector, (images + delta).clamp(0, 1), labels)
        self.delta = (delta + eps * gradients.sign()).clamp(-eps, eps)
        return loss
