"""MART: adversarial training that looks at what is misclassified anyway."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.adversarial import AdversarialTraining
from advforensics.defenses.draws import Draws


class Mart(AdversarialTraining):
    r"""Minimises :math:`\mathrm{BCE}(f(x'), y) + \lambda\,\mathrm{KL}(f(x) \,\|\, f(x'))\,(1 - f_y(x))`.

    The boosted cross-entropy BCE also pushes the likeliest wrong class down; the divergence counts the more, the less
    certain the detector is of the clean image. A network with dropout draws the same for both. Wang et al., "Improving
    Adversarial Robustness Requires Revisiting Misclassified Examples", ICLR 2020.

    Args:
        weight: λ.
        **adversarial: See :class:`~advforensics.defenses.adversarial.AdversarialTraining`.
    """

    def __init__(self, weight: float, **adversarial: Any) -> None:
        super().__init__(**adversarial)
        self.weight = weight

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return boosted cross-entropy on examples plus the weighted divergence."""
        examples = self.adversarial_examples(images, labels)
        draws = Draws(images)
        clean = self.detector(images).log_softmax(1)
        with draws.again():
            adversarial = self.detector(examples).log_softmax(1)
        true = labels[:, None]
        wrong = adversarial.exp().scatter(1, true, 0).amax(dim=1)
        boosted = F.nll_loss(adversarial, labels) - (1 - wrong).clamp_min(1e-6).log().mean()
        divergence = F.kl_div(adversarial, clean, log_target=True, reduction="none").sum(dim=1)
        unsure = 1 - clean.exp().gather(1, true).squeeze(1)
        loss: Tensor = boosted + self.weight * (divergence * unsure).mean()
        return loss
