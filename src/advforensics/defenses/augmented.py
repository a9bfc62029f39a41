"""Training on randomly transformed pictures: the cheap defences to compare with."""

from typing import Any

import albumentations as A
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.baseline import Baseline


class Augmented(Baseline):
    """Minimises cross-entropy on images that an albumentations transform has changed, each with its own random draw.

    With Gaussian noise: Zantedeschi et al., arXiv 1707.06728. With JPEG: Das et al., arXiv 1705.02900; they also
    compress the pictures to be classified, this defence compresses in training only.

    Args:
        transform: Takes an ``(H, W, C)`` float32 picture in [0, 1] to one of the same size.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.
    """

    def __init__(self, transform: A.BasicTransform, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.transform = A.Compose([transform])

    def augment(self, images: Tensor) -> Tensor:
        """Return images ``(N, C, H, W)`` in [0, 1], transformed; torch's generator determines the random draws."""
        self.transform.set_random_seed(int(torch.randint(2**31, ())))
        pictures = images.float().permute(0, 2, 3, 1).cpu().numpy()
        augmented = np.stack([self.transform(image=np.ascontiguousarray(picture))["image"] for picture in pictures])
        return torch.from_numpy(augmented).to(images).permute(0, 3, 1, 2).clamp(0, 1)

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return cross-entropy on the transformed images."""
        return F.cross_entropy(self.detector(self.augment(images)), labels)
