"""A verdict on a whole picture by the patches that were cut from it."""

from dataclasses import replace

from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.evaluation.images import apart


class PictureDetector(nn.Module):
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


def of_pictures(trained: TrainedDetector, patches: int) -> TrainedDetector:
    """Return a detector as a judge of whole pictures: another one in tables and in MLflow."""
    return replace(
        trained,
        detector=PictureDetector(trained.detector, patches),
        shape=(*trained.shape[:2], patches * trained.shape[2]),
        name=f"{trained.name}, {patches} patches a picture",
        sha256=f"{trained.sha256} x {patches}",
    )
