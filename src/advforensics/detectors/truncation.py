"""Truncation: what keeps the edges of a picture from drowning its traces."""

import torch
from torch import Tensor, nn


class Truncation(nn.Module):
    """Limits residuals smoothly to a few levels, ``tanh(r / T)``.

    Traces of processing are a level or so high, edges are dozens. Rich models truncate residuals for that reason
    (Fridrich & Kodovsky 2012); the hyperbolic tangent does it with derivatives of every order, which a gradient
    penalty needs.

    Args:
        levels: ``T`` in levels (1/255) of the picture.
        scale: How many units of the residual one unit of the picture is.

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
