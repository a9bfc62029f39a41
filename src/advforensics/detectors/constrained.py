"""Constrained convolution: a front end that learns its own high-pass filters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.detectors.filtering import filter2d


class ConstrainedConv(nn.Module):
    """Prediction-error filters, learned: the centre weighs -1 and the others sum to 1.

    Such a filter subtracts a pixel from a prediction by its neighbours; content cancels, traces of processing stay.
    Bayar & Stamm, "A Deep Learning Approach to Universal Image Manipulation Detection Using a New Convolutional
    Layer", 2016. They rescale the weights after each step; here the constraint is part of the forward pass, by the
    orthogonal projection onto it, which cannot divide by a sum near zero and lets gradients know of it.

    Args:
        channels: Channels of the picture; each is filtered by itself.
        filters: Filters per channel.
        size: Side of a filter, odd.
        picture: The picture itself is handed on beside the residuals, multiplied by so much; 0 leaves it out. Behind a
            truncation at T levels it is cut off T / ``picture`` levels from mid-grey.

    Attributes:
        out_channels: ``channels * filters``, and ``channels`` more with the picture.
    """

    def __init__(self, channels: int, filters: int, size: int, picture: float = 0.0) -> None:
        super().__init__()
        if size % 2 == 0 or size < 3:
            raise ValueError(f"detector.front_end.size must be odd and at least 3, got {size}")
        self.channels = channels
        self.picture = picture
        self.out_channels = channels * (filters + (picture > 0))
        self.raw_weight = nn.Parameter(torch.randn(channels * filters, 1, size, size) / size)

    @property
    def centre(self) -> Tensor:
        """One in the middle of a filter and zero around it, ``(1, 1, size, size)``."""
        # No buffer: processes that train together could not share it if the network had no other one.
        return F.pad(self.raw_weight.new_ones(1, 1, 1, 1), [self.raw_weight.shape[-1] // 2] * 4)

    @property
    def weight(self) -> Tensor:
        """The filters, ``(out_channels, 1, size, size)``, constraint met; the last of a channel may be the picture."""
        centre = self.centre
        around = self.raw_weight * (1 - centre)
        missing = 1 - around.sum(dim=(2, 3), keepdim=True)
        filters = around + (1 - centre) * missing / (centre.numel() - 1) - centre
        if self.picture == 0:
            return filters
        of_channel = filters.unflatten(0, (self.channels, -1))
        picture = self.picture * centre.expand(self.channels, 1, *centre.shape[1:])
        return torch.cat([of_channel, picture], dim=1).flatten(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return residuals ``(N, out_channels, H, W)`` without a border: ``H`` and ``W`` shrink by ``size - 1``."""
        return filter2d(images, self.weight, self.channels)
