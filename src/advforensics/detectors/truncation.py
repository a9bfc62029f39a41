"""Truncation of residuals, so that strong edges do not hide weak traces."""

import torch
from torch import Tensor, nn


class Truncation(nn.Module):
    """Limits residuals smoothly to a few levels, ``tanh(r / T)``.

    Traces of processing have amplitudes of about a level, edges of dozens. So rich models truncate residuals (Fridrich
    & Kodovsky 2012). The hyperbolic tangent has the second derivative that a gradient penalty needs.

    Args:
        levels: ``T`` in levels (1/255) of the picture.
        scale: Units of the residual per unit of the picture.

    Raises:
        ValueError: If ``levels`` is not positive.
    """

    def __init__(self, levels: float, scale: float) -> None:
        super().__init__()
        if levels <= 0:
            raise ValueError(f"detector.model.truncation_levels must be positive, or null for none; got {levels}")
        self.gain = 255 / (scale * levels)

    def forward(self, residual: Tensor) -> Tensor:
        """Return the residual ``(N, R, H, W)``, limited to (-1, 1)."""
        return torch.tanh(residual * self.gain)
