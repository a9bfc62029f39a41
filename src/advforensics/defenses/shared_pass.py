"""One pass over a batch whose backward pass serves the weights, the images and an attack at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shared_pass(detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean loss of a batch, and the gradient of each image's own loss with respect to that image.

    A single backward pass computes the gradients of images and weights. Those of the weights are kept until the step
    differentiates the loss: two passes do the work of three. Gradients are per image in the sense, and with the
    reservation for batch normalisation, of :func:`~advforensics.defenses.gradient_penalty.exact`.

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
    # `Tensor.backward` runs outside autocast too. Inside, gradients of float32 operations would be rounded.
    with torch.autocast(images.device.type, enabled=False):
        gradient, *slopes = torch.autograd.grad(loss, [images, *weights], allow_unused=True)
    used = [(weight, slope) for weight, slope in zip(weights, slopes, strict=True) if slope is not None]
    kept: Tensor = _Differentiated.apply(loss.detach(), len(used), *(w for w, _ in used), *(s for _, s in used))  # type: ignore[no-untyped-call]
    return kept, gradient * len(images)


class _Differentiated(torch.autograd.Function):
    """A number whose derivatives are already known.

    Its inputs are the weights themselves, so that hooks on their gradients fire: data-parallel training needs them.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, number: int, *weights_and_slopes: Tensor) -> Tensor:
        ctx.save_for_backward(*weights_and_slopes[number:])
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes = torch._foreach_mul(ctx.saved_tensors, gradients[0])
        return (None, None, *slopes, *(None for _ in slopes))


class PassAsNetwork(nn.Module):
    """A pass that is already made, as a network that takes the detector's place in an attack.

    It answers the images of the pass with their logits, and the gradient of the mean cross-entropy there is known too.
    A single-step attack asks for no more, so it costs no pass of its own. It sees the detector in the mode the pass was
    made in; the modes that it sets do not reach the detector.

    Args:
        images: ``(N, C, H, W)``.
        labels: ``(N,)``.
        logits: ``(N, K)``.
        gradients: ``(N, C, H, W)``, as `shared_pass` returns them.
    """

    def __init__(self, images: Tensor, labels: Tensor, logits: Tensor, gradients: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach(), requires_grad=False)  # attacks look for the device of a parameter
        self._images = images
        self._gradients = gradients / len(images)
        answer = logits.detach().requires_grad_(True)
        (self._slopes,) = torch.autograd.grad(F.cross_entropy(answer, labels), answer)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(N, K)`` of the images ``(N, C, H, W)``.

        Raises:
            ValueError: If these are other images. In the backward pass: if the loss is not the mean cross-entropy.
        """
        if not torch.equal(images, self._images):
            raise ValueError(_refusal("other images"))
        logits: Tensor = _Answer.apply(images, self.logits, self._slopes, self._gradients)  # type: ignore[no-untyped-call]
        return logits


class _Answer(torch.autograd.Function):
    """Logits through which the gradient of the mean cross-entropy is already known."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, logits: Tensor, slopes: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(slopes, gradients)
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes, known = ctx.saved_tensors
        if not torch.equal(gradients[0], slopes):
            raise ValueError(_refusal("another loss"))
        return known, None, None, None


def _refusal(asked: str) -> str:
    return (
        "defense.module.reuse_gradient=true gives an attack the gradient of the mean cross-entropy at the clean images"
        f" of the step, and this attack asks for {asked}: set defense.module.reuse_gradient=false"
    )


@contextmanager
def statistics_kept(detector: nn.Module) -> Iterator[None]:
    """Let passes inside the block leave a detector's buffers, batch normalisation's running statistics, unchanged.

    The passes write into copies. These outlive the block, because the backward pass may still need them.
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
