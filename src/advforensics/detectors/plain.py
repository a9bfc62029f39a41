"""No residual front end: the trunk sees the picture itself."""

from torch import Tensor, nn


class Plain(nn.Module):
    """Returns the picture unchanged, for comparison with residual front ends.

    Args:
        channels: Channels of the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the images ``(N, C, H, W)``."""
        return images
