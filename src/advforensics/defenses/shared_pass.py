"""One pass over a batch whose way back serves the weights and the pictures at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shared_pass(detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean loss of a batch, and the gradient of each image's own loss with respect to that image.

    A defence wants the second to know where to look next, before the step's loss is complete; taken by itself it would
    cost another way back. Here the gradient for the weights is computed along with it and kept, and handed on
    unchanged once the loss is differentiated: two passes do the work of three.

    Gradients are per image as in :func:`~advforensics.defenses.gradient_penalty.exact`, with the same reservation for
    batch normalisation in training mode.

    Args:
        detector: The network, in whatever mode it is in.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.

    Returns:
        The mean cross-entropy in nats, which can be differentiated once, with respect to weights; and gradients
        ``(N, C, H, W)``, constants, in nats per unit of the image range.
    """
    images = images.detach().requires_grad_(True)
    weights = [weight for weight in detector.parameters() if weight.requires_grad]
    loss = F.cross_entropy(detector(images), labels)
    # As `Tensor.backward` is after a step: under autocast the way back would round what the way forth did not.
    with torch.autocast(images.device.type, enabled=False):
        gradient, *slopes = torch.autograd.grad(loss, [images, *weights], allow_unused=True)
    used = [(weight, slope) for weight, slope in zip(weights, slopes, strict=True) if slope is not None]
    kept: Tensor = _Differentiated.apply(loss.detach(), len(used), *(w for w, _ in used), *(s for _, s in used))  # type: ignore[no-untyped-call]
    return kept, gradient * len(images)


class _Differentiated(torch.autograd.Function):
    """A number whose derivatives are known already.

    It hangs on the weights themselves, so that all that listens to their gradients, data-parallel training for
    one, notices no difference.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, number: int, *weights_and_slopes: Tensor) -> Tensor:
        ctx.save_for_backward(*weights_and_slopes[number:])
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes = torch._foreach_mul(ctx.saved_tensors, gradients[0])
        return (None, None, *slopes, *(None for _ in slopes))


@contextmanager
def statistics_kept(detector: nn.Module) -> Iterator[None]:
    """Let passes inside leave no trace in a detector's buffers: batch normalisation's running statistics, that is.

    They write into copies, which the way back still needs when the block is over.
    """
    kept = [
        (module, name, buffer) for module in detector.modules() for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        for module, name, buffer in kept:
            setattr(module, name, buffer.clone())
        yield
    finally:
        for module, name, buffer in kept:
            setattr(module, name, buffer)
