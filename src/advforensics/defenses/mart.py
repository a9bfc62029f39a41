"""MART: adversarial training with more weight on images that are misclassified without an attack."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.adversarial import AdversarialTraining


class Mart(AdversarialTraining):
    r"""Minimises :math:`\mathrm{BCE}(f(x'), y) + \lambda\,\mathrm{KL}(f(x) \,\|\, f(x'))\,(1 - f_y(x))`.

    The boosted cross-entropy BCE also lowers the probability of the likeliest wrong class. The less certain the
    detector is of the clean image, the more the divergence counts. Wang et al., "Improving Adversarial Robustness
    Requires Revisiting Misclassified Examples", ICLR 2020.

    Args:
        weight: λ.
        **adversarial: See :class:`~advforensics.defenses.adversarial.AdversarialTraining`.
    """

    def __init__(self, weight: float, **adversarial: Any) -> None:
        super().__init__(**adversarial)
        self.weight = weight

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the boosted cross-entropy of the adversarial examples plus the weighted divergence."""
        clean, adversarial = (logits.log_softmax(1) for logits in self.both_logits(images, labels))
        true = labels[:, None]
        likeliest_wrong = adversarial.exp().scatter(1, true, 0).amax(dim=1)
        boosted = F.nll_loss(adversarial, labels) - (1 - likeliest_wrong).clamp_min(1e-6).log().mean()
        divergence = F.kl_div(adversarial, clean, log_target=True, reduction="none").sum(dim=1)
        uncertainty = 1 - clean.exp().gather(1, true).squeeze(1)
        loss: Tensor = boosted + self.weight * (divergence * uncertainty).mean()
        return loss
