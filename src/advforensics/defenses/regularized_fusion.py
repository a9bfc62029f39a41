"""Adversarial fusion and the gradient penalty together."""

from typing import Any

from torch import Tensor

from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.gradient_penalty import GradientPenalty


class RegularizedFusion(AdversarialFusion):
    r"""Adversarial fusion whose clean part carries the gradient penalty, :math:`L(x) + \lambda \lVert\nabla_x L\rVert`.

    The penalty and the attack share one gradient with respect to the images: three passes.

    Args:
        penalty_weight: λ at full strength; it warms up with the radius.
        penalty: The norm, and how it is computed.
        **fusion: See :class:`~advforensics.defenses.adversarial_fusion.AdversarialFusion`.
    """

    def __init__(self, penalty_weight: float, penalty: GradientPenalty, **fusion: Any) -> None:
        super().__init__(**fusion)
        self.penalty_weight = penalty_weight
        self.penalty = penalty

    def clean_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the penalised loss of the clean images."""
        return self.clean_pass(images, labels)[0]

    def clean_pass(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return that loss, and the gradients ``(N, C, H, W)`` of each image's cross-entropy, without the penalty."""
        loss, penalty, gradients = self.penalty(self.detector, images, labels)
        return loss + self.penalty_weight * self.warmup_factor(self.warmup) * penalty, gradients
