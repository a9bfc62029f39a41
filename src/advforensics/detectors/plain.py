"""No residual: the trunk sees the picture."""

from torch import Tensor, nn


class Plain(nn.Module):
    """Hands the picture on as it is: what a residual front end is to be compared with.

    Args:
        channels: Channels of the picture.

    Attributes:
        out_channels: ``channels``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the images ``(N, C, H, W)``."""
        return images
