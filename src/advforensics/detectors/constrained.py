"""Constrained convolution: a front end with learned high-pass filters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.detectors.filtering import filter2d


class ConstrainedConv(nn.Module):
    """Learned prediction-error filters: the weight of the centre is -1, the others sum to 1.

    Such a filter predicts a pixel from its neighbours and subtracts the pixel: content cancels, traces of processing
    stay. Bayar & Stamm, "A Deep Learning Approach to Universal Image Manipulation Detection Using a New Convolutional
    Layer", 2016. They rescale the weights after each step, which divides by a sum that may be near zero. Here the
    forward pass projects the weights orthogonally onto the constraint, so the gradients take it into account.

    Args:
        channels: Channels of the picture; each is filtered separately.
        filters: Filters per channel.
        size: Side of a filter, odd.
        picture: Weight of the picture itself, which is output beside the residuals; 0 leaves it out. Behind a
            truncation at T levels its values are limited to T / ``picture`` levels around mid-grey.

    Attributes:
        out_channels: ``channels * filters``, plus ``channels`` with the picture.
    """

    def __init__(self, channels: int, filters: int, size: int, picture: float = 0.0) -> None:
        super().__init__()
        if size % 2 == 0 or size < 3:
            raise ValueError(f"detector.model.front_end.size must be odd and at least 3, got {size}")
        self.channels = channels
        self.picture = picture
        self.out_channels = channels * (filters + (picture > 0))
        self.raw_weight = nn.Parameter(torch.randn(channels * filters, 1, size, size) / size)

    @property
    def centre(self) -> Tensor:
        """One in the middle of a filter and zero around it, ``(1, 1, size, size)``."""
        # Not a buffer: distributed training fails if it is the only buffer of a network.
        return F.pad(self.raw_weight.new_ones(1, 1, 1, 1), [self.raw_weight.shape[-1] // 2] * 4)

    @property
    def weight(self) -> Tensor:
        """The constrained filters, ``(out_channels, 1, size, size)``; ``picture`` adds one for the picture."""
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
