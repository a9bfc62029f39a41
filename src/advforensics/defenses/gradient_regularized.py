"""Training with a penalty on the norm of the loss's gradient with respect to the picture."""

from typing import Any

from torch import Tensor

from advforensics.defenses.baseline import Baseline
from advforensics.defenses.gradient_penalty import GradientPenalty


class GradientRegularized(Baseline):
    r"""Minimises :math:`L(x) + \lambda \lVert \nabla_x L(x) \rVert_2`, the mean over a batch of per-image terms.

    Zhao, Yang, Ni, Zhao, Wu, "Security Consideration For Deep Learning-Based Image Forensics", arXiv 1803.11157.

    Args:
        weight: λ at full strength, for a loss in nats and images in [0, 1].
        warmup: Share of the training over which λ grows linearly from 0. With a strong penalty from the start, training
            can end at a constant detector, whose gradient is zero.
        penalty: The norm, and how it is computed.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.
    """

    def __init__(self, weight: float, warmup: float, penalty: GradientPenalty, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.weight = weight
        self.warmup = warmup
        self.penalty = penalty

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return cross-entropy plus the weighted penalty."""
        loss, penalty, _ = self.penalty(self.detector, images, labels)
        return loss + self.weight * self.warmup_factor(self.warmup) * penalty
