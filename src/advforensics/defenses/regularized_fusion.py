"""Both cures together."""

from typing import Any

from torch import Tensor

from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.gradient_regularized import gradient_penalty, warm


class RegularizedFusion(AdversarialFusion):
    r"""Adversarial fusion whose clean part carries the gradient penalty, :math:`L(x) + \lambda \lVert\nabla_x L\rVert`.

    Args:
        penalty: λ at full strength; it warms up with the radius.
        squared: Penalise the squared norm.
        **fusion: See :class:`~advforensics.defenses.adversarial_fusion.AdversarialFusion`.
    """

    def __init__(self, penalty: float, squared: bool, **fusion: Any) -> None:
        super().__init__(**fusion)
        self.penalty = penalty
        self.squared = squared

    def clean_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the penalised loss of the images as they are."""
        losses, norms = gradient_penalty(self.detector, images, labels, squared=self.squared)
        return (losses + self.penalty * warm(self.progress, self.warmup) * norms).mean()
