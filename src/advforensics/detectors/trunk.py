"""The convolutional trunk that all residual front ends share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """The mean of each map over the picture, and its standard deviation.

    Of a trace that lies unevenly the deviation tells more than the mean, and a shift that a perturbation brings about
    everywhere leaves it as it is. It is worth points of robust accuracy; see experiments/architecture.

    Args:
        spread: Whether the standard deviation is among what is pooled.
    """

    floor = 1e-3  # added to the variance: a flat map has a derivative too

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

    Traces of processing are local and the same everywhere in a picture, so the trunk keeps a small field of view,
    and its verdict rests on averages over the picture, whatever the size of that.

    Args:
        channels: Channels that come in.
        classes: Logits that go out.
        widths: Channels of each stage.
        strides: By how much each stage lowers the resolution.
        spread: Pool the standard deviation of each map beside its mean; see :class:`Pooling`.
        activation: Builds the activation. Smooth ones (SiLU) train under an input-gradient penalty, whose own gradient
            is a second derivative that a ReLU sets to zero almost everywhere (Rodríguez-Muñoz et al., arXiv
            2409.20139).

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
        """Return logits ``(N, K)`` of residuals ``(N, R, H, W)``, as precise as these even if convolutions are not."""
        maps: Tensor = self.layers(residual)
        with torch.autocast(residual.device.type, enabled=False):
            logits: Tensor = self.head(self.pooling(maps.to(residual.dtype)))
        return logits
