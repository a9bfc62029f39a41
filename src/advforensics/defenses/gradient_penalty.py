"""The norm of the loss's gradient with respect to the picture: exactly, or by finite difference at two passes."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.attacks.random_state import RandomState
from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.shared_pass import shared_pass, statistics_kept

Norm = Literal["l1", "l2", "linf"]
ORDERS: dict[Norm, float] = {"l1": 1, "l2": 2, "linf": math.inf}


class GradientPenalty:
    r"""A batch's mean loss and its mean penalty :math:`\lVert \nabla_x L \rVert_p`, by one of two methods.

    Args:
        method: ``exact``, by double backward, or ``finite_difference``.
        norm: Norm of the gradient. A penalty on it protects against changes that are small in the dual norm: ``l1``
            against L∞, ``l2`` against L2, ``linf`` against changes of few pixels (Rodríguez-Muñoz et al., arXiv
            2409.20139).
        squared: Penalise the squared norm.
        step_levels: Step of the finite difference: root-mean-square change of a pixel value, in levels.

    Raises:
        ValueError: If ``method`` or ``norm`` is unknown, or the step is not positive.
    """

    def __init__(
        self, method: Literal["exact", "finite_difference"], norm: Norm, squared: bool, step_levels: float
    ) -> None:
        if method not in ("exact", "finite_difference"):
            raise ValueError(f"defense.module.penalty.method must be 'exact' or 'finite_difference', got {method!r}")
        if norm not in ORDERS:
            raise ValueError(f"defense.module.penalty.norm must be one of {', '.join(ORDERS)}, got {norm!r}")
        if step_levels <= 0:
            raise ValueError(f"defense.module.penalty.step_levels must be positive, got {step_levels}")
        self.method = method
        self.norm: Norm = norm
        self.squared = squared
        self.step = step_levels * LEVEL

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean loss, the mean penalty, and gradients ``(N, C, H, W)`` of each image's loss.

        Loss and penalty can be differentiated with respect to weights; the gradients are constants. Images are
        ``(N, C, H, W)`` in [0, 1], labels ``(N,)``.
        """
        if self.method == "exact":
            losses, gradients = exact(detector, images, labels)
            norms = torch.linalg.vector_norm(gradients.flatten(1), ord=ORDERS[self.norm], dim=1)
            return losses.mean(), (norms.square() if self.squared else norms).mean(), gradients.detach()
        random_state = RandomState(images.device)
        loss, gradients = shared_pass(detector, images, labels)
        with random_state.replayed():
            penalty = self._finite_difference(detector, images, labels, loss, gradients)
        return loss, penalty, gradients

    def _finite_difference(
        self, detector: nn.Module, images: Tensor, labels: Tensor, loss: Tensor, gradients: Tensor
    ) -> Tensor:
        r"""Return the mean norm of the gradients as a difference of two losses, :math:`(L(x + hv) - L(x)) / h`.

        ``v`` is the direction of steepest ascent. Held constant, :math:`\langle v, \nabla_x L\rangle` has the same
        derivative with respect to weights as the norm itself, since ``v`` maximises it. Finlay & Oberman, arXiv
        1905.11468.

        The difference is one-sided, because it takes two passes only. Its error is of the order of the step: the root
        mean square of ``hv``, the same for every norm and patch size. All images of a batch move together. So under
        batch normalisation this is the derivative that double backward takes, which includes the batch statistics; the
        running statistics are those of the unmoved images.
        """
        flat = gradients.flatten(1)
        norms = torch.linalg.vector_norm(flat, ord=ORDERS[self.norm], dim=1)
        if self.squared:
            # The derivative of a squared norm is twice the norm times the norm's derivative. So each image moves in
            # proportion to its norm.
            largest = norms.amax().clamp_min(torch.finfo(norms.dtype).tiny)
            scale, factor = norms / largest, 2 * largest
        else:
            scale, factor = torch.ones_like(norms), norms.new_ones(())
        h = self.step if self.norm == "l1" else self.step * math.sqrt(flat.shape[1])
        moved = images + (h * scale[:, None] * steepest_ascent(flat, self.norm)).view_as(images)
        with statistics_kept(detector):
            difference: Tensor = (F.cross_entropy(detector(moved), labels) - loss) * factor / h
        # The factor 2 is right for the derivative of a squared norm, but doubles its value.
        return difference - difference.detach() / 2 if self.squared else difference


def exact(detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's loss and the gradient of that loss with respect to the image, both differentiable.

    The gradient of the summed losses is, image by image, that of each image's own loss, as long as the network
    treats images independently. Batch normalisation in training mode does not: there the gradient also contains, to
    the order of 1/N, how an image shifts the statistics of its batch.

    Double backpropagation: Drucker & LeCun 1992; as a defence: Ross & Doshi-Velez, arXiv 1711.09404, and Zhao et al.,
    arXiv 1803.11157, for image forensics. `torch.compile` and fused attention do not support its second backward pass.

    Returns:
        For images ``(N, C, H, W)`` in [0, 1] and labels ``(N,)``: losses ``(N,)`` in nats and gradients
        ``(N, C, H, W)`` in nats per unit of the image range.
    """
    images = images.detach().requires_grad_(True)
    with torch.compiler.set_stance("force_eager"):
        losses = F.cross_entropy(detector(images), labels, reduction="none")
    with torch.autocast(images.device.type, enabled=False):  # as in `shared_pass`
        (gradients,) = torch.autograd.grad(losses.sum(), images, create_graph=True)
    return losses, gradients


def steepest_ascent(gradients: Tensor, norm: Norm) -> Tensor:
    """Return ``v`` of length 1 in the dual norm, ``(N, D)``, whose inner product with the gradients is their norm."""
    if norm == "l1":
        return gradients.sign()
    if norm == "l2":
        return F.normalize(gradients, dim=1, eps=torch.finfo(gradients.dtype).tiny)
    largest = gradients.abs().argmax(dim=1, keepdim=True)
    return torch.zeros_like(gradients).scatter(1, largest, gradients.gather(1, largest).sign())
