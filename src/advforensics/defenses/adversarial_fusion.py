"""Training on clean and adversarial images fused in every step."""

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from advforensics.attacks.gateway import Attack
from advforensics.attacks.threat import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.gradient_regularized import warm


class AdversarialFusion(Baseline):
    r"""Minimises :math:`(1 - w) L(x) + w L(x')`, where :math:`x'` is the adversarial twin of :math:`x`.

    Twins are made afresh in each step against the detector as it then is. Goodfellow et al., arXiv 1412.6572; for
    image forensics Zhao et al., arXiv 1803.11157, whose abstract does not tell whether losses are weighed or a batch
    is mixed: both are here.

    Args:
        attack: Makes the twins.
        eps_levels: Radius of the attack at full strength, in levels (1/255).
        warmup: Share of the training over which the radius grows linearly from 0.
        weight: ``w``, the adversarial share, 0 to 1.
        fusion: ``sum`` weighs the losses of each image and its twin; ``replace`` puts twins in the place of the
            first ``w`` of the (shuffled) batch, at the price of one pass.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Raises:
        ValueError: If ``weight`` is not between 0 and 1 or ``fusion`` is unknown.
    """

    def __init__(
        self,
        attack: Attack,
        eps_levels: float,
        warmup: float,
        weight: float,
        fusion: Literal["sum", "replace"],
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        if not 0 <= weight <= 1:
            raise ValueError(f"defense.weight must be between 0 and 1, got {weight}")
        if fusion not in ("sum", "replace"):
            raise ValueError(f"defense.fusion must be 'sum' or 'replace', got {fusion!r}")
        self.attack = attack
        self.eps_levels = eps_levels
        self.warmup = warmup
        self.weight = weight
        self.fusion = fusion

    def twins(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial twins ``(N, C, H, W)`` at the radius that the warm-up has reached."""
        eps = self.eps_levels * LEVEL * warm(self.progress, self.warmup)
        return self.attack(self.detector, images, labels, eps)

    def clean_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the images as they are."""
        return F.cross_entropy(self.detector(images), labels)

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the fused loss."""
        if self.fusion == "sum":
            adversarial = F.cross_entropy(self.detector(self.twins(images, labels)), labels)
            return (1 - self.weight) * self.clean_loss(images, labels) + self.weight * adversarial
        replaced = round(self.weight * len(images))
        mixed = images.clone()
        mixed[:replaced] = self.twins(images[:replaced], labels[:replaced])
        return self.clean_loss(mixed, labels)
