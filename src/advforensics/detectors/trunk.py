"""The convolutional trunk that all residual front ends share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """The mean of each feature map over the picture, and its standard deviation.

    The standard deviation shows traces that are unevenly distributed, and a perturbation that shifts the whole map does
    not change it. It improves robust accuracy by points; see experiments/architecture.

    Args:
        spread: Whether to pool the standard deviation too.
    """

    floor = 1e-3  # added to the variance, so that the root of a flat map's variance has a derivative

    def __init__(self, spread: bool) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, C)`` of maps ``(N, C, H, W)``, or ``(N, 2C)``: means, then standard deviations."""
        means = maps.mean(dim=(2, 3))
        if not self.spread:
            return means
        variances = (maps - means[..., None, None]).square().mean(dim=(2, 3))
        return torch.cat([means, (variances + self.floor).sqrt()], dim=1)


class Trunk(nn.Module):
    """Convolutions, each with batch normalisation and an activation, then global pooling.

    Traces of processing are local and the same everywhere in a picture. So the trunk has a small receptive field and
    averages over pictures of any size.

    Args:
        channels: Channels of the residual.
        classes: Number of logits.
        widths: Channels of each stage.
        strides: Stride of each stage.
        spread: Pool the standard deviation of each map beside its mean; see :class:`Pooling`.
        activation: Builds the activation. A gradient penalty needs a smooth one (SiLU): training differentiates twice,
            and the second derivative of a ReLU is zero almost everywhere (Rodríguez-Muñoz et al., arXiv 2409.20139).

    Raises:
        ValueError: If there are not as many strides as widths.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        widths: Sequence[int],
        strides: Sequence[int],
        spread: bool,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        if len(widths) != len(strides):
            raise ValueError(f"detector.model.trunk needs a stride for each width, got {widths} and {strides}")
        layers: list[nn.Module] = []
        for stage, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            kernel = 5 if stage == 0 else 3
            layers += [
                nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                activation(),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.pooling = Pooling(spread)
        self.head = nn.Linear(channels * (1 + spread), classes)

    def forward(self, residual: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of residuals ``(N, R, H, W)``, in the residual's precision even under autocast."""
        maps: Tensor = self.layers(residual)
        with torch.autocast(residual.device.type, enabled=False):
            logits: Tensor = self.head(self.pooling(maps.to(residual.dtype)))
        return logits
