"""The convolutional trunk that all residual front ends share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """Convolutions, each with batch normalisation and an activation, then global average pooling.

    Traces of processing are local and the same everywhere in a picture, so the trunk keeps a small field of view,
    and its verdict is an average over the picture, whatever the size of that.

    Args:
        channels: Channels that come in.
        classes: Logits that go out.
        widths: Channels of each stage.
        strides: By how much each stage lowers the resolution.
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
        self.head = nn.Linear(channels, classes)

    def forward(self, residual: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of residuals ``(N, R, H, W)``, as precise as these even if convolutions are not."""
        maps: Tensor = self.layers(residual)
        with torch.autocast(residual.device.type, enabled=False):
            logits: Tensor = self.head(maps.mean(dim=(2, 3), dtype=residual.dtype))
        return logits
