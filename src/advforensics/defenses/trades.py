"""TRADES: accuracy on clean images, plus agreement between these and their adversarial examples."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.adversarial import AdversarialTraining


class Trades(AdversarialTraining):
    r"""Minimises :math:`L(x) + \beta\,\mathrm{KL}(f(x) \,\|\, f(x'))`, where the attack raises the divergence.

    Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy", arXiv 1901.08573.

    Args:
        beta: β, the weight of the divergence.
        **adversarial: See :class:`~advforensics.defenses.adversarial.AdversarialTraining`; the attack is ``tpgd``.
    """

    def __init__(self, beta: float, **adversarial: Any) -> None:
        super().__init__(**adversarial)
        self.beta = beta

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return cross-entropy plus the weighted divergence."""
        clean, adversarial = self.both_logits(images, labels)
        divergence = F.kl_div(adversarial.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean")
        return F.cross_entropy(clean, labels) + self.beta * divergence
