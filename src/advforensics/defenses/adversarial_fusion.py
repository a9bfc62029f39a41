"""Training on clean and adversarial images fused in every step."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.adversarial import AdversarialTraining, TrainingAttack
from advforensics.defenses.shared_pass import PassAsNetwork, shared_pass


class AdversarialFusion(AdversarialTraining):
    r"""Minimises :math:`(1 - w) L(x) + w L(x')`, where :math:`x'` is the adversarial example of :math:`x`.

    Goodfellow et al., arXiv 1412.6572. For image forensics: Zhao et al., arXiv 1803.11157, whose abstract does not say
    whether losses are weighted or a batch is mixed; ``fusion`` offers both.

    Clean and adversarial images both move batch normalisation's running statistics. Statistics of clean images alone
    made no difference that could be told from chance (experiments/batch_statistics).

    Args:
        weight: ``w``, the adversarial share, 0 to 1; 1 is adversarial training (Madry et al., arXiv 1706.06083).
        fusion: ``sum`` weights the losses of each image and its example. ``replace`` replaces the first ``w`` of the
            (shuffled) batch by examples, and so trains on one pass.
        reuse_gradient: Let the attack read the gradient of the step's own clean pass
            (:class:`~advforensics.defenses.shared_pass.PassAsNetwork`): two passes instead of three. That gradient sees
            the network in training mode; an attack with passes of its own sees it in evaluation mode. Any attack will
            do whose only gradient is that of cross-entropy at the clean images; another one stops the training.
        **adversarial: See :class:`~advforensics.defenses.adversarial.AdversarialTraining`.

    Raises:
        ValueError: If ``weight`` is not between 0 and 1, ``fusion`` is unknown, or ``reuse_gradient`` has no clean pass
            to read.
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
            raise ValueError(f"defense.module.weight must be between 0 and 1, got {weight}")
        if fusion not in ("sum", "replace"):
            raise ValueError(f"defense.module.fusion must be 'sum' or 'replace', got {fusion!r}")
        if reuse_gradient and (fusion != "sum" or weight == 1):
            raise ValueError(
                "defense.module.reuse_gradient=true needs the clean pass of fusion=sum with weight < 1, got"
                f" fusion={fusion}, weight={weight}: set defense.module.reuse_gradient=false"
            )
        self.weight = weight
        self.fusion = fusion
        self.reuse_gradient = reuse_gradient

    def train_on(self, attack: TrainingAttack) -> None:
        """Make examples with another attack from now on; it makes passes of its own."""
        super().train_on(attack)
        self.reuse_gradient = False

    def clean_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the clean images."""
        return F.cross_entropy(self.detector(images), labels)

    def clean_pass(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return that loss, and the gradients ``(N, C, H, W)`` of each image's cross-entropy.

        The detector's first pass must be at these images.
        """
        return shared_pass(self.detector, images, labels)

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the fused loss."""
        if self.fusion == "replace":
            replaced = round(self.weight * len(images))
            examples = self.adversarial_examples(images[:replaced], labels[:replaced])
            return self.clean_loss(torch.cat([examples, images[replaced:]]), labels)
        clean: Tensor | float
        if self.reuse_gradient:
            logits: list[Tensor] = []
            with self.detector.register_forward_hook(lambda module, inputs, answer: logits.append(answer.detach())):
                clean, gradients = self.clean_pass(images, labels)
            network = PassAsNetwork(images, labels, logits[0], gradients)
            examples = self.adversarial_examples(images, labels, network)
        else:
            clean = self.clean_loss(images, labels) if self.weight < 1 else 0.0
            examples = self.adversarial_examples(images, labels)
        adversarial = F.cross_entropy(self.detector(examples), labels)
        return (1 - self.weight) * clean + self.weight * adversarial
