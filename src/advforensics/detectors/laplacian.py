"""The Laplacian front end."""

import torch

from advforensics.detectors.fixed import FixedFilters


class Laplacian(FixedFilters):
    """The discrete Laplacian of each channel.

    Yang, Ni, Zhao, "Recapture Image Forensics Based on Laplacian Convolutional Neural Networks", 2016.

    Args:
        channels: Channels of the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, torch.tensor([[[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]]))
