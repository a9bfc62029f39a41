"""What may be done to training patches: moves of pixels that resample nothing, so that traces survive."""

import torch
from torch import Tensor


class D4:
    """The eight symmetries of a square, each equally often."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return every image turned and mirrored in its own way.

        Args:
            images: ``(N, C, S, S)``.
            draws: One random whole number per image, ``(N,)``; the image's symmetry depends on nothing else.
        """
        moved = torch.empty_like(images)
        for symmetry in range(8):
            chosen = draws % 8 == symmetry
            turned = torch.rot90(images[chosen], symmetry % 4, dims=(2, 3))
            moved[chosen] = turned if symmetry < 4 else turned.flip(3)
        return moved
