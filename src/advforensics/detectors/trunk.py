"""The convolutional trunk that all residual front ends share."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Trunk(nn.Module):
    """Strided convolutions, each with batch normalisation and an activation, then global average pooling.

    Traces of processing are local and the same everywhere in a picture, so the trunk keeps a small field of view,
    and its verdict is an average over the picture, whatever the size of that.

    Args:
        channels: Channels that come in.
        classes: Logits that go out.
        widths: Channels of each stage; every stage halves the resolution.
        activation: Builds the activation. Smooth ones (SiLU) train under an input-gradient penalty, whose own gradient
            is a second derivative that a ReLU sets to zero almost everywhere (Rodríguez-Muñoz et al., arXiv
            2409.20139).
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int], activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, width in enumerate(widths):
            kernel = 5 if stage == 0 else 3
            layers += [
                nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(width),
                activation(),
            ]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
        self.layers = nn.Sequential(*layers)

    def forward(self, residual: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of residuals ``(N, R, H, W)``."""
        logits: Tensor = self.layers(residual)
        return logits
