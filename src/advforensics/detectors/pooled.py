"""A verdict on a picture by the patches that were cut from it."""

from torch import Tensor, nn

from advforensics.data import apart


class Pooled(nn.Module):
    """The mean of what a detector says of patches that lie side by side, in logits.

    Whoever attacks it attacks the verdict: all patches at once. Under L∞ every pixel value is within the same ball;
    under L2 the ball is over all patches of the picture together, so that one may change more than another.

    Args:
        detector: From patches ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``.
        patches: How many lie side by side.
    """

    def __init__(self, detector: nn.Module, patches: int) -> None:
        super().__init__()
        self.detector = detector
        self.patches = patches

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of ``(N, C, H, patches * W)``."""
        logits: Tensor = self.detector(apart(images, self.patches))
        verdict: Tensor = logits.unflatten(0, (-1, self.patches)).mean(dim=1)
        return verdict
