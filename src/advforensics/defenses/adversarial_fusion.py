"""Training on clean and adversarial images fused in every step."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.adversarial import AdversarialTraining, TrainingAttack
from advforensics.defenses.shared_pass import shared_pass


class AdversarialFusion(AdversarialTraining):
    r"""Minimises :math:`(1 - w) L(x) + w L(x')`, where :math:`x'` is the adversarial example of :math:`x`.

    Goodfellow et al., arXiv 1412.6572; for image forensics Zhao et al., arXiv 1803.11157, whose abstract does not tell
    whether losses are weighed or a batch is mixed: both are here.

    Batch normalisation's running statistics are those of all that is learnt from, clean and adversarial; those of clean
    pictures alone could not be told apart from them (experiments/batch_statistics).

    Args:
        weight: ``w``, the adversarial share, 0 to 1; 1 is adversarial training (Madry et al., arXiv 1706.06083).
        fusion: ``sum`` weighs the losses of each image and its example; ``replace`` puts examples in the place of the
            first ``w`` of the (shuffled) batch, at the price of one pass.
        reuse_gradient: Take the direction of FGSM from the clean pass that the step makes anyway: two passes instead of
            three. That gradient sees the network in training mode, with the statistics of the batch; the attack by
            itself sees it in evaluation mode.
        **adversarial: See :class:`~advforensics.defenses.adversarial.AdversarialTraining`.

    Raises:
        ValueError: If ``weight`` is not between 0 and 1, ``fusion`` is unknown, or there is no clean pass whose
            gradient is the attack's.
    """

    def __init__(
        self,
        weight: float,
        fusion: Literal["sum", "replace"],
        reuse_gradient: bool,
        **adversarial: Any,
    ) -> None:
        super().__init__(**adversarial)
        if not 0 <= weight <= 1:
            raise ValueError(f"defense.weight must be between 0 and 1, got {weight}")
        if fusion not in ("sum", "replace"):
            raise ValueError(f"defense.fusion must be 'sum' or 'replace', got {fusion!r}")
        if reuse_gradient and not (self.attack.is_fgsm and fusion == "sum" and weight < 1):
            raise ValueError(
                "defense.reuse_gradient takes the step of FGSM from the clean pass of fusion=sum with weight < 1; got"
                f" attack={self.attack.name}, fusion={fusion}, weight={weight}: set reuse_gradient=false"
            )
        self.weight = weight
        self.fusion = fusion
        self.reuse_gradient = reuse_gradient

    def train_on(self, attack: TrainingAttack) -> None:
        """Make examples with another attack from here on, whose gradients are its own."""
        super().train_on(attack)
        self.reuse_gradient = False

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
            examples = self.adversarial_examples(images[:replaced], labels[:replaced])
            return self.clean_loss(torch.cat([examples, images[replaced:]]), labels)
        clean: Tensor | float
        if self.reuse_gradient:
            clean, gradients = self.clean_pass(images, labels)
            examples = (images + self.eps * gradients.sign()).clamp(0, 1)
            self.last_examples = examples, labels
        else:
            clean = self.clean_loss(images, labels) if self.weight < 1 else 0.0
            examples = self.adversarial_examples(images, labels)
        adversarial = F.cross_entropy(self.detector(examples), labels)
        return (1 - self.weight) * clean + self.weight * adversarial
