"""A front end of fixed filters; each filter bank is a subclass."""

from torch import Tensor, nn

from advforensics.detectors.filtering import filter2d


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
