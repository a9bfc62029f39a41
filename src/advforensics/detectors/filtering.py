"""Filtering a picture: a convolution whose backward pass costs no more than its forward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight


def filter2d(images: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return the filtered images without a border, ``(N, out, H - h + 1, W - w + 1)``.

    The same as ``F.conv2d(images, weight, groups=groups)``, with a faster gradient with respect to the images, which
    all gradient attacks and most defences need. It is computed as a convolution of the incoming gradient with the
    flipped filters. For few channels and large maps, as in a residual front end, oneDNN takes several times as long.

    `torch.autocast` has no effect in either direction: pictures and their gradients keep their precision.

    Args:
        images: ``(N, C, H, W)``.
        weight: ``(out, C / groups, h, w)``.
        groups: As for ``F.conv2d``.
    """
    if torch._C._get_tracing_state() is not None:  # a traced network is a file for others, which holds no code of ours
        return F.conv2d(images, weight, groups=groups)
    filtered: Tensor = _Filter.apply(images, weight, groups)  # type: ignore[no-untyped-call] # torch leaves it untyped
    return filtered


class _Filter(torch.autograd.Function):
    """Differentiable any number of times, since the backward pass is a filtering itself."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, groups: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.groups = groups
        with torch.autocast(images.device.type, enabled=False):
            return F.conv2d(images, weight, groups=groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        image_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            out, per_group, height, width = weight.shape
            flipped = weight.flip(2, 3).view(ctx.groups, out // ctx.groups, per_group, height, width).transpose(1, 2)
            flipped = flipped.reshape(ctx.groups * per_group, out // ctx.groups, height, width)
            padded = F.pad(gradients[0], (width - 1, width - 1, height - 1, height - 1))
            image_gradient = filter2d(padded, flipped, ctx.groups)
        if ctx.needs_input_grad[1]:
            with torch.autocast(images.device.type, enabled=False):
                weight_gradient = conv2d_weight(images, weight.shape, gradients[0], groups=ctx.groups)
        return image_gradient, weight_gradient, None
