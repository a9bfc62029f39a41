"""Augmentation of training patches that only moves pixels, so that traces of processing survive."""

import torch
from torch import Tensor


class D4:
    """The eight symmetries of a square, with equal probability."""

    def __call__(self, images: Tensor, random_numbers: Tensor) -> Tensor:
        """Return each image rotated and mirrored as its random number says.

        Args:
            images: ``(N, C, S, S)``.
            random_numbers: One whole number per image, ``(N,)``; nothing else determines the image's symmetry.
        """
        augmented = torch.empty_like(images)
        for symmetry in range(8):
            chosen = random_numbers % 8 == symmetry
            rotated = torch.rot90(images[chosen], symmetry % 4, dims=(2, 3))
            augmented[chosen] = rotated if symmetry < 4 else rotated.flip(3)
        return augmented
