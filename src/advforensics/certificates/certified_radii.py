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
COLUMNS = ("norm", "method", "radius_levels", "correct")
Row = dict[str, str | float | bool]


def certify_linear(
    detector: nn.Module, layers: LayerSequence, images: Tensor, labels: Tensor, norms: Sequence[Norm]
) -> list[list[Row]]:
    """Certify the answers of a detector by linear bounds.

    Args:
        detector: The detector, in evaluation mode; its answers decide what is right when clean.
        layers: The same detector as a sequence of layers.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``, the true classes.
        norms: Norms of the balls.

    Returns:
        For each image a list with one row per norm: ``norm``, ``method``, ``radius_levels`` and ``correct``.

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
        radii = {norm: 0.0 if linear is None else linear.radius(norm) * 255 for norm in norms}
        rows.append(
            [dict(zip(COLUMNS, (norm, LINEAR, levels, correct), strict=True)) for norm, levels in radii.items()]
        )
    return rows


def certify_smoothing(smoothed: Smoothed, images: Tensor, labels: Tensor, first: int = 0) -> list[list[Row]]:
    """Certify the answers of a smoothed detector: a list with one row for each image.

    The radius is 0 if the vote is for a wrong class or too close to call.

    Args:
        smoothed: The smoothed detector.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``, the true classes.
        first: Number of the first image; the noise depends on the number of the image.
    """
    method = f"smoothing, sigma {smoothed.sigma * 255:g}"
    rows: list[list[Row]] = []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), first):
        answer, eps = smoothed.certify(image, number)
        row = ("l2", method, eps * 255 if answer == label else 0.0, answer == label)
        rows.append([dict(zip(COLUMNS, row, strict=True))])
    return rows
