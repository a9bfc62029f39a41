"""A detector of whole pictures: the mean over the patches that were cut from them."""

from dataclasses import replace

from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.evaluation.images import separate


class PictureDetector(nn.Module):
    """The mean of a detector's logits over patches that lie side by side.

    An attack changes all patches at once. Under L∞ each pixel value may change by the radius. Under L2 the ball is over
    all patches together, so one may change more than another.

    Args:
        detector: From patches ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``.
        patches: How many lie side by side.
    """

    def __init__(self, detector: nn.Module, patches: int) -> None:
        super().__init__()
        self.detector = detector
        self.patches = patches

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of square patches side by side, ``(N, C, H, patches * H)``.

        Raises:
            ValueError: If they are not square any more: something has resized or cut what only looks like a picture.
        """
        if images.shape[-1] != self.patches * images.shape[-2]:
            raise ValueError(
                f"{self.patches} patches side by side cannot be resized or cut: leave the domain `chain` out, or set"
                " patches_per_picture=1"
            )
        logits: Tensor = self.detector(separate(images, self.patches))
        mean: Tensor = logits.unflatten(0, (-1, self.patches)).mean(dim=1)
        return mean


def of_pictures(trained: TrainedDetector, patches: int) -> TrainedDetector:
    """Return a detector of whole pictures; in tables and in MLflow it is another one."""
    return replace(
        trained,
        detector=PictureDetector(trained.detector, patches),
        shape=(*trained.shape[:2], patches * trained.shape[2]),
        name=f"{trained.name}, {patches} patches a picture",
        sha256=f"{trained.sha256} x {patches}",
    )
