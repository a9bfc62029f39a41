"""Training on clean and adversarial images fused in every step."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.attacks.gateway import Attack
from advforensics.attacks.threat import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.shared_pass import shared_pass


class AdversarialFusion(Baseline):
    r"""Minimises :math:`(1 - w) L(x) + w L(x')`, where :math:`x'` is the adversarial twin of :math:`x`.

    Twins are made afresh in each step against the detector as it then is. Goodfellow et al., arXiv 1412.6572; for
    image forensics Zhao et al., arXiv 1803.11157, whose abstract does not tell whether losses are weighed or a batch
    is mixed: both are here.

    Args:
        attack: Makes the twins.
        eps_levels: Radius of the attack at full strength, in levels (1/255).
        warmup: Share of the training over which the radius grows linearly from 0.
        weight: ``w``, the adversarial share, 0 to 1; 1 is adversarial training (Madry et al., arXiv 1706.06083).
        fusion: ``sum`` weighs the losses of each image and its twin; ``replace`` puts twins in the place of the
            first ``w`` of the (shuffled) batch, at the price of one pass.
        reuse_gradient: Take the direction of FGSM from the clean pass that the step makes anyway: two passes instead of
            three. That gradient sees the network in training mode, with the statistics of the batch; the attack by
            itself sees it in evaluation mode.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Raises:
        ValueError: If ``weight`` is not between 0 and 1, ``fusion`` is unknown, or there is no clean pass whose
            gradient is the attack's.
    """

    def __init__(
        self,
        attack: Attack,
        eps_levels: float,
        warmup: float,
        weight: float,
        fusion: Literal["sum", "replace"],
        reuse_gradient: bool,
        **baseline: Any,
    ) -> None:
        super().__init__(**baseline)
        if not 0 <= weight <= 1:
            raise ValueError(f"defense.weight must be between 0 and 1, got {weight}")
        if fusion not in ("sum", "replace"):
            raise ValueError(f"defense.fusion must be 'sum' or 'replace', got {fusion!r}")
        if reuse_gradient and not (attack.is_fgsm and fusion == "sum" and weight < 1):
            raise ValueError(
                "defense.reuse_gradient takes the step of FGSM from the clean pass of fusion=sum with weight < 1; got"
                f" attack={attack.name}, fusion={fusion}, weight={weight}: set reuse_gradient=false"
            )
        self.attack = attack
        self.eps_levels = eps_levels
        self.warmup = warmup
        self.weight = weight
        self.fusion = fusion
        self.reuse_gradient = reuse_gradient

    @property
    def eps(self) -> float:
        """The radius that the warm-up has reached, in [0, 1]."""
        return self.eps_levels * LEVEL * self.warm(self.warmup)

    def twins(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial twins ``(N, C, H, W)``."""
        return self.attack(self.detector, images, labels, self.eps)

    def clean_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the images as they are."""
        return F.cross_entropy(self.detector(images), labels)

    def clean_pass(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return that loss, and the gradients ``(N, C, H, W)`` of cross-entropy with respect to the images."""
        return shared_pass(self.detector, images, labels)

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the fused loss."""
        if self.fusion == "replace":
            replaced = round(self.weight * len(images))
            twins = self.twins(images[:replaced], labels[:replaced])
            return self.clean_loss(torch.cat([twins, images[replaced:]]), labels)
        clean: Tensor | float
        if self.reuse_gradient:
            clean, gradients = self.clean_pass(images, labels)
            twins = (images + self.eps * gradients.sign()).clamp(0, 1)
        else:
            clean = self.clean_loss(images, labels) if self.weight < 1 else 0.0
            twins = self.twins(images, labels)
        adversarial = F.cross_entropy(self.detector(twins), labels)
        return (1 - self.weight) * clean + self.weight * adversarial
