"""A compact vision transformer as the trunk."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class Transformer(nn.Module):
    """A vision transformer on the residual (Dosovitskiy et al., arXiv 2010.11929), small enough for patches.

    Tokens are squares of the residual. Their positions are encoded by sines and cosines of both coordinates, as Vaswani
    et al., arXiv 1706.03762, do for one, so pictures of any size are accepted. The output averages over tokens.

    Attention uses PyTorch's math backend: the exact gradient penalty needs second derivatives, which fused kernels do
    not have.

    Args:
        channels: Channels of the residual.
        classes: Number of logits.
        patch: Side of a token in pixels.
        width: Length of a token's vector; a multiple of 4 and of ``heads``.
        depth: Layers.
        heads: Heads of attention.

    Raises:
        ValueError: If ``width`` is no multiple of 4 and of ``heads``.
    """

    def __init__(self, channels: int, classes: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise ValueError(f"detector.model.trunk.width={width} must be a multiple of 4 and of heads={heads}")
        self.tokens = nn.Conv2d(channels, width, patch, stride=patch)
        layer = nn.TransformerEncoderLayer(
            width, heads, dim_feedforward=2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, residual: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of residuals ``(N, R, H, W)``."""
        (patch, _), (height, width) = self.tokens.kernel_size, residual.shape[2:]
        down, across = -height % patch, -width % patch
        padded = F.pad(residual, (across // 2, across - across // 2, down // 2, down - down // 2))
        maps: Tensor = self.tokens(padded)
        tokens = maps.flatten(2).transpose(1, 2) + positions(*maps.shape[1:]).to(maps)
        with sdpa_kernel(SDPBackend.MATH):
            encoded: Tensor = self.layers(tokens)
        with torch.autocast(residual.device.type, enabled=False):
            logits: Tensor = self.head(encoded.mean(dim=1).to(residual.dtype))
        return logits


def positions(width: int, rows: int, columns: int) -> Tensor:
    """Return the position encodings of tokens, ``(rows * columns, width)``: sines and cosines of y, then of x."""
    wavelengths = torch.exp(torch.arange(width // 4) * (-math.log(10_000) * 4 / width))
    y, x = (torch.arange(length)[:, None] * wavelengths for length in (rows, columns))
    down = torch.cat([y.sin(), y.cos()], dim=1)[:, None].expand(-1, columns, -1)
    across = torch.cat([x.sin(), x.cos()], dim=1)[None].expand(rows, -1, -1)
    return torch.cat([down, across], dim=2).flatten(0, 1)
