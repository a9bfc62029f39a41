"""Certificates: radii within which provably no attack succeeds.

Robust accuracy under attacks is an upper bound on the true robust accuracy. The share of images whose certified radius
is at least ε is a lower bound. There are two kinds, which the column ``method`` names:

- ``linear bounds``: of the detector itself, L∞ and L2; see :mod:`advforensics.certificates.linear_bounds`.
- ``smoothing``: of the smoothed detector, which takes a vote of this one under noise; L2 only; see :mod:`.smoothing`.
  These rows say nothing about the detector itself; ``correct`` is that of the vote.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advforensics.attacks.threat_model import Norm
from advforensics.certificates.layers import LayerSequence
from advforensics.certificates.linear_bounds import Linearization
from advforensics.certificates.smoothing import Smoothed

LINEAR = "linear bounds"
LOGIT_TOLERANCE = 1e-5  # relative to the largest logit: rounding in single precision
Row = dict[str, str | float | bool]


def certify_linear(
    detector: nn.Module, layers: LayerSequence, images: Tensor, labels: Tensor, norms: Sequence[Norm]
) -> list[list[Row]]:
    """Certify the answers of a detector, in evaluation mode, by linear bounds.

    Its answers on images ``(N, C, H, W)`` in [0, 1] decide what is right when clean; labels ``(N,)`` are the true
    classes. ``layers`` are the same detector. For each image there is a list with one row per norm.

    Raises:
        ValueError: Detector and layers do not give the same logits.
    """
    with torch.no_grad():
        logits, expected = layers(images.double()), detector(images)
    difference = float((logits - expected).abs().amax())
    if difference > LOGIT_TOLERANCE * float(expected.abs().amax()):
        raise ValueError(
            f"certify: the layers' logits differ from the detector's by {difference:.2g}: no bound is valid"
        )
    right = expected.argmax(dim=1) == labels
    rows: list[list[Row]] = []
    for image, label, correct in zip(images, labels.tolist(), right.tolist(), strict=True):
        linear = Linearization(layers, image, label) if correct else None
        rows.append([_row(norm, LINEAR, linear.radius(norm) if linear else 0.0, correct) for norm in norms])
    return rows


def certify_smoothing(smoothed: Smoothed, images: Tensor, labels: Tensor, first: int = 0) -> list[list[Row]]:
    """Certify the answers of a smoothed detector on ``(N, C, H, W)`` in [0, 1]: a list with one row for each image.

    The radius is 0 if the vote is for a wrong class or too close to call. ``first`` is the number of the first image,
    since the noise depends on it.
    """
    method = f"smoothing, sigma {smoothed.sigma * 255:g}"
    rows: list[list[Row]] = []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), first):
        answer, eps = smoothed.certify(image, number)
        rows.append([_row("l2", method, eps if answer == label else 0.0, answer == label)])
    return rows


def _row(norm: Norm, method: str, eps: float, correct: bool) -> Row:
    return {"norm": norm, "method": method, "radius_levels": eps * 255, "correct": correct}
