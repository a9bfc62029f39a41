"""Cross-entropy plus a penalty on the norm of its gradient with respect to the picture."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.defenses.baseline import Baseline


def gradient_penalty(
    detector: nn.Module, images: Tensor, labels: Tensor, *, squared: bool = False
) -> tuple[Tensor, Tensor]:
    """Return each image's loss and the 2-norm of that loss's gradient with respect to the image, by double backward.

    The norm is per image: the gradient of the sum of the losses is, image by image, the gradient of each one's own
    loss, as long as the network treats images apart. Batch normalisation in training mode does not: there the
    gradient also holds, to the order of 1/N, how an image shifts the statistics of its batch.

    Double backpropagation: Drucker & LeCun 1992; as a defence: Ross & Doshi-Velez, arXiv 1711.09404, and Zhao et al.,
    arXiv 1803.11157, for image forensics.

    Args:
        detector: The network.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.
        squared: Return the squared norm.

    Returns:
        Losses ``(N,)`` and norms ``(N,)``, in nats per unit of the image range; both can be differentiated.
    """
    images = images.detach().requires_grad_(True)
    losses = F.cross_entropy(detector(images), labels, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), images, create_graph=True)
    norms = torch.linalg.vector_norm(gradient, dim=(1, 2, 3))
    return losses, norms.square() if squared else norms


class GradientRegularized(Baseline):
    r"""Minimises :math:`L(x) + \lambda \lVert \nabla_x L(x) \rVert_2`, the mean over a batch of per-image terms.

    Zhao, Yang, Ni, Zhao, Wu, "Security Consideration For Deep Learning-Based Image Forensics", arXiv 1803.11157.

    Args:
        weight: λ at full strength, for a loss in nats and images in [0, 1].
        warmup: Share of the training over which λ grows linearly from 0. Without it a strong penalty finds the
            constant detector first, whose gradient is zero.
        squared: Penalise the squared norm.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.
    """

    def __init__(self, weight: float, warmup: float, squared: bool, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.weight = weight
        self.warmup = warmup
        self.squared = squared

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return cross-entropy plus the weighted penalty."""
        losses, norms = gradient_penalty(self.detector, images, labels, squared=self.squared)
        weight = self.weight * warm(self.progress, self.warmup)
        return (losses + weight * norms).mean()


def warm(progress: float, warmup: float) -> float:
    """Return the share, 0 to 1, of full strength at ``progress`` when ``warmup`` of the training warms up."""
    return min(progress / warmup, 1.0) if warmup > 0 else 1.0
