"""Filtering a picture: a convolution whose way back costs no more than its way forth."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight


def filter2d(images: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return images filtered, without a border: ``(N, out, H - h + 1, W - w + 1)``.

    The same as ``F.conv2d(images, weight, groups=groups)``. A residual front end has few channels and large maps, for
    which oneDNN's gradient with respect to the images is several times slower than the convolution that it equals: of
    the gradient with the flipped filters. Every attack and every defence that asks where to look next needs it.

    `torch.autocast` changes nothing, forth or back: a picture and its gradient stay as precise as they are.

    Args:
        images: ``(N, C, H, W)``.
        weight: ``(out, C / groups, h, w)``.
        groups: As for ``F.conv2d``.
    """
    filtered: Tensor = _Filter.apply(images, weight, groups)  # type: ignore[no-untyped-call] # torch leaves it untyped
    return filtered


class _Filter(torch.autograd.Function):
    """Differentiable any number of times: the way back is a filtering itself."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, groups: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.groups = groups
        with torch.autocast(images.device.type, enabled=False):
            return F.conv2d(images, weight, groups=groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            out, per_group, height, width = weight.shape
            flipped = weight.flip(2, 3).view(ctx.groups, out // ctx.groups, per_group, height, width).transpose(1, 2)
            flipped = flipped.reshape(ctx.groups * per_group, out // ctx.groups, height, width)
            border = F.pad(gradients[0], (width - 1, width - 1, height - 1, height - 1))
            of_images = filter2d(border, flipped, ctx.groups)
        if ctx.needs_input_grad[1]:
            with torch.autocast(images.device.type, enabled=False):
                of_weight = conv2d_weight(images, weight.shape, gradients[0], groups=ctx.groups)
        return of_images, of_weight, None
