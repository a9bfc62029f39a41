"""Front ends of fixed filters: a bank of them, the Laplacian, and the spatial rich model."""

import torch
from torch import Tensor, nn

from advforensics.detectors.filtering import filter2d

DIRECTIONS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


class FixedFilters(nn.Module):
    """Filters each channel with all kernels of a bank; nothing is learned.

    Args:
        channels: Channels of the picture; each is filtered separately.
        kernels: The bank, ``(filters, size, size)``.

    Attributes:
        out_channels: ``channels * filters``.
    """

    weight: Tensor

    def __init__(self, channels: int, kernels: Tensor) -> None:
        super().__init__()
        self.channels = channels
        self.out_channels = channels * len(kernels)
        self.register_buffer("weight", kernels.unsqueeze(1).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return residuals ``(N, out_channels, H, W)`` without a border: ``H`` and ``W`` shrink by ``size - 1``."""
        return filter2d(images, self.weight, self.channels)


class Laplacian(FixedFilters):
    """The discrete Laplacian of each channel.

    Yang, Ni, Zhao, "Recapture Image Forensics Based on Laplacian Convolutional Neural Networks", 2016.

    Args:
        channels: Channels of the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, torch.tensor([[[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]]))


class SRM(FixedFilters):
    """The 30 linear residuals of the spatial rich model, each divided by the weight of its centre.

    First differences in 8 directions, second differences in 4, third differences in 8, and the EDGE and SQUARE
    predictors on 3x3 and 5x5 windows (EDGE in 4 directions). Fridrich & Kodovsky, "Rich Models for Steganalysis of
    Digital Images", 2012.

    Args:
        channels: Channels of the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, srm_kernels())


def srm_kernels() -> Tensor:
    """Return the bank, ``(30, 5, 5)``; the centre of every kernel is -1 and every kernel sums to 0."""
    first = [_along(direction, {0: -1.0, 1: 1.0}) for direction in DIRECTIONS]
    second = [_along(direction, {-1: 1.0, 0: -2.0, 1: 1.0}) for direction in DIRECTIONS[:4]]
    third = [_along(direction, {-1: 1.0, 0: -3.0, 1: 3.0, 2: -1.0}) for direction in DIRECTIONS]
    square3 = torch.zeros(5, 5)
    square3[1:4, 1:4] = torch.tensor([[-1.0, 2.0, -1.0], [2.0, -4.0, 2.0], [-1.0, 2.0, -1.0]])
    square5 = torch.tensor(
        [
            [-1.0, 2.0, -2.0, 2.0, -1.0],
            [2.0, -6.0, 8.0, -6.0, 2.0],
            [-2.0, 8.0, -12.0, 8.0, -2.0],
            [2.0, -6.0, 8.0, -6.0, 2.0],
            [-1.0, 2.0, -2.0, 2.0, -1.0],
        ]
    )
    kernels = [*first, *second, *third, square3, square5, *_edges(square3), *_edges(square5)]
    return torch.stack([kernel / -kernel[2, 2] for kernel in kernels])


def _along(direction: tuple[int, int], weights: dict[int, float]) -> Tensor:
    """Return a 5x5 kernel with ``weights`` at the given steps from the centre in a direction."""
    kernel = torch.zeros(5, 5)
    for step, weight in weights.items():
        kernel[2 + step * direction[0], 2 + step * direction[1]] = weight
    return kernel


def _edges(square: Tensor) -> list[Tensor]:
    """Return the four EDGE forms of a SQUARE predictor: half of it without the rows below the centre, and its turns."""
    edge = square.clone()
    edge[3:] = 0
    return [torch.rot90(edge, turns) for turns in range(4)]
