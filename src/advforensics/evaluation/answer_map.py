"""A map of where in a picture a detector's answer lies."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margins
from advforensics.detectors.device import device_of
from advforensics.evaluation.whole_picture import WholePicture

CELLS = 32  # along the longer side of a map of gradients


@dataclass(frozen=True)
class Map:
    """Where in a picture the answer lies.

    Attributes:
        strength: ``(rows, columns)``, from 0 to 1.
        agreeing: Share of the patches that give the verdict; ``None`` where the map shows how strongly the answer
            depends on each region.
    """

    strength: NDArray[np.float64]
    agreeing: float | None


def map_of(detector: nn.Module, picture: Tensor, label: int) -> Map:
    """Return where in a picture ``(3, H, W)`` its answer lies.

    Of a detector of patches: the probability of the verdict in each. Of any other: the size of the gradient of the
    margin, as a share of its largest value over regions of the picture.
    """
    images = picture[None].to(device_of(detector))
    if isinstance(detector, WholePicture):
        with torch.no_grad():
            logits = detector.logits(images)[0]
        share = (logits.argmax(dim=-1) == label).float().mean().item()
        return Map(logits.softmax(dim=-1)[..., label].double().cpu().numpy(), share)
    with attackable(detector):
        images.requires_grad_()
        lead = margins(detector(images), torch.tensor([label], device=images.device))
        (gradient,) = torch.autograd.grad(lead.sum(), images)
    height, width = picture.shape[1:]
    side = max(height, width) / min(CELLS, height, width)
    cells = max(1, round(height / side)), max(1, round(width / side))
    pooled = F.adaptive_avg_pool2d(gradient.abs().sum(dim=1, keepdim=True), cells)[0, 0]
    return Map((pooled / pooled.max().clamp_min(1e-30)).double().cpu().numpy(), None)
