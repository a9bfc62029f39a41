"""The norm of the loss's gradient with respect to the picture: exactly, and for the price of one more pass."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.draws import Draws
from advforensics.defenses.shared_pass import shared_pass, statistics_kept

Norm = Literal["l1", "l2", "linf"]
ORDERS: dict[Norm, float] = {"l1": 1, "l2": 2, "linf": math.inf}


class GradientPenalty:
    r"""A batch's mean loss and its mean penalty :math:`\lVert \nabla_x L \rVert_p`, in one of two ways.

    Args:
        method: ``exact``, by double backward, or ``finite_difference``.
        norm: Norm of the gradient. A penalty on it resists changes that are small in the dual norm: ``l1`` those of
            L∞, ``l2`` those of L2, ``linf`` those of few pixels (Rodríguez-Muñoz et al., arXiv 2409.20139).
        squared: Penalise the squared norm.
        step_levels: Length of the finite difference's step, the root-mean-square change of a pixel value in levels.

    Raises:
        ValueError: If ``method`` or ``norm`` is unknown, or the step is not positive.
    """

    def __init__(
        self, method: Literal["exact", "finite_difference"], norm: Norm, squared: bool, step_levels: float
    ) -> None:
        if method not in ("exact", "finite_difference"):
            raise ValueError(f"defense.penalty must be 'exact' or 'finite_difference', got {method!r}")
        if norm not in ORDERS:
            raise ValueError(f"defense.norm must be one of {', '.join(ORDERS)}, got {norm!r}")
        if step_levels <= 0:
            raise ValueError(f"defense.step_levels must be positive, got {step_levels}")
        self.method = method
        self.norm: Norm = norm
        self.squared = squared
        self.step = step_levels * LEVEL

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean loss, the mean penalty, and gradients ``(N, C, H, W)`` of each image's loss.

        Loss and penalty can be differentiated with respect to weights; the gradients are constants.

        Args:
            detector: The network.
            images: ``(N, C, H, W)`` in [0, 1].
            labels: ``(N,)``.
        """
        if self.method == "exact":
            losses, gradients = exact(detector, images, labels)
            norms = torch.linalg.vector_norm(gradients.flatten(1), ord=ORDERS[self.norm], dim=1)
            return losses.mean(), (norms.square() if self.squared else norms).mean(), gradients.detach()
        draws = Draws(images)
        loss, gradients = shared_pass(detector, images, labels)
        with draws.again():
            penalty = finite_difference(detector, images, labels, loss, gradients, self.norm, self.squared, self.step)
        return loss, penalty, gradients


def exact(detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's loss and the gradient of that loss with respect to the image, both differentiable.

    The gradient is per image: that of the sum of the losses is, image by image, the gradient of each one's own
    loss, as long as the network treats images apart. Batch normalisation in training mode does not: there it also
    holds, to the order of 1/N, how an image shifts the statistics of its batch.

    Double backpropagation: Drucker & LeCun 1992; as a defence: Ross & Doshi-Velez, arXiv 1711.09404, and Zhao et al.,
    arXiv 1803.11157, for image forensics. Its second way back takes neither `torch.compile` nor fused attention.

    Args:
        detector: The network.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.

    Returns:
        Losses ``(N,)`` in nats and gradients ``(N, C, H, W)`` in nats per unit of the image range.
    """
    images = images.detach().requires_grad_(True)
    with torch.compiler.set_stance("force_eager"):
        losses = F.cross_entropy(detector(images), labels, reduction="none")
    with torch.autocast(images.device.type, enabled=False):  # as in `shared_pass`
        (gradients,) = torch.autograd.grad(losses.sum(), images, create_graph=True)
    return losses, gradients


def finite_difference(
    detector: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: Tensor,
    gradients: Tensor,
    norm: Norm,
    squared: bool,
    step: float,
) -> Tensor:
    r"""Return the mean norm of the gradients as a difference of two losses, :math:`(L(x + hv) - L(x)) / h`.

    ``v`` is the direction of steepest ascent. Held constant, :math:`\langle v, \nabla_x L\rangle` has the same
    derivative with respect to weights as the norm itself, since ``v`` maximises it. Finlay & Oberman, arXiv
    1905.11468.

    The difference is one-sided, as two passes allow; its error is of the order of the step, whose length is the same
    for every norm and size of patch: ``step`` is the root mean square of ``hv``. All images of a batch move together,
    so that under batch normalisation this is the derivative that double backward takes, statistics included; the
    running statistics are those of the pictures as they are. A network that draws at random must draw here what it drew
    for ``loss``.

    Args:
        detector: The network.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.
        loss: Mean loss of the images.
        gradients: ``(N, C, H, W)``, of each image's loss; constants.
        norm: Norm of the gradient.
        squared: Return the mean squared norm.
        step: Root-mean-square change per pixel value, in [0, 1].
    """
    flat = gradients.flatten(1)
    norms = torch.linalg.vector_norm(flat, ord=ORDERS[norm], dim=1)
    if squared:
        # The derivative of a square is twice the norm times that of the norm: images move in proportion to theirs.
        longest = norms.amax().clamp_min(torch.finfo(norms.dtype).tiny)
        share, factor = norms / longest, 2 * longest
    else:
        share, factor = torch.ones_like(norms), norms.new_tensor(1.0)
    direction = steepest(flat, norm)
    h = step if norm == "l1" else step * math.sqrt(flat.shape[1])
    moved = images + (h * share[:, None] * direction).view_as(images)
    with statistics_kept(detector):
        difference: Tensor = (F.cross_entropy(detector(moved), labels) - loss) * factor / h
    # Twice a squared norm has the right derivative and the wrong value.
    return difference - difference.detach() / 2 if squared else difference


def steepest(gradients: Tensor, norm: Norm) -> Tensor:
    """Return ``v`` of length 1 in the dual norm, ``(N, D)``, whose inner product with the gradients is their norm."""
    if norm == "l1":
        return gradients.sign()
    if norm == "l2":
        return F.normalize(gradients, dim=1, eps=torch.finfo(gradients.dtype).tiny)
    largest = gradients.abs().argmax(dim=1, keepdim=True)
    return torch.zeros_like(gradients).scatter(1, largest, gradients.gather(1, largest).sign())
