"""A detector: normalisation, residual front end, truncation, trunk."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advforensics.detectors.truncation import Truncation


class Normalization(nn.Module):
    """Maps [0, 1] to [-2, 2] inside the detector, so that attacks and ε refer to the picture as stored.

    The map is fixed. A data set's own mean and standard deviation would tell the model how bright the data set is, and
    would change the meaning of λ from store to store.
    """

    scale = 4.0

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` in [0, 1] to ``(N, C, H, W)``."""
        return (images - 0.5) * self.scale


class Detector(nn.Module):
    """A network from a picture to logits.

    Args:
        channels: Channels of the picture, 1 (grey) or 3 (RGB). Pictures of any size from 32x32 are accepted.
        classes: Number of classes K, at least 2: with one logit, cross-entropy is always 0 and every attack fails, so
            the detector would look perfectly robust.
        front_end: Builds the residual front end from ``channels``; it has ``out_channels``.
        truncation_levels: Limit of the residuals, in levels; ``None`` uses batch normalisation instead.
        trunk: Builds the trunk from ``channels`` (those of the residual) and ``classes``.

    Raises:
        ValueError: If ``classes`` is below 2.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        front_end: Callable[..., nn.Module],
        truncation_levels: float | None,
        trunk: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a detector needs 2 logits or more, got classes={classes}")
        self.normalization = Normalization()
        self.front_end = front_end(channels=channels)
        out_channels = self.front_end.out_channels
        assert isinstance(out_channels, int)
        self.truncation = (
            nn.BatchNorm2d(out_channels)
            if truncation_levels is None
            else Truncation(truncation_levels, self.normalization.scale)
        )
        self.trunk = trunk(channels=out_channels, classes=classes)
        # A fifth to a third faster on a CPU. torch's types lack the keyword.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def residual(self, images: Tensor) -> Tensor:
        """Return the residual ``(N, R, H', W')`` of images ``(N, C, H, W)``, the input of the trunk."""
        residual: Tensor = self.truncation(self.front_end(self.normalization(images)))
        return residual

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``, float in [0, 1].

        `torch.autocast` lowers the precision of the trunk only, and only behind a truncated residual. In bfloat16, with
        8 bits, pictures near white have steps of a level, so perturbations below a level would vanish.
        """
        with torch.autocast(images.device.type, enabled=False):
            residual = self.residual(images)
            if not isinstance(self.truncation, Truncation):
                logits: Tensor = self.trunk(residual)
                return logits
        logits = self.trunk(residual)
        return logits
