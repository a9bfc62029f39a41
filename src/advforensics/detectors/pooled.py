"""A verdict on a picture by the patches that were cut from it."""

from torch import Tensor, nn


class Pooled(nn.Module):
    """The mean of what a detector says of patches that lie side by side, in logits.

    Whoever attacks it attacks the verdict: all patches at once, each pixel within the same ball.

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
        single = images.unflatten(3, (self.patches, -1)).movedim(3, 1).flatten(0, 1)
        logits: Tensor = self.detector(single)
        verdict: Tensor = logits.unflatten(0, (-1, self.patches)).mean(dim=1)
        return verdict
