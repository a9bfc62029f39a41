"""Certificates: radii within which no attack can succeed, whatever it is. The other end of the bracket.

An attack's robust accuracy is an upper bound on the true one; the share of images whose certified radius reaches ε is a
lower bound. Two kinds are written, each row telling which by its ``method``:

- ``linear bounds``, of the detector itself, L∞ and L2; see :mod:`advforensics.certificates.linear_bounds`.
- ``smoothing``, of another detector, the vote of this one under noise, L2 only; see
  :mod:`.smoothing`. Its rows tell nothing of the detector itself, and ``correct`` is the vote's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advforensics.attacks.threat_model import Norm
from advforensics.certificates.layers import Steps
from advforensics.certificates.linear_bounds import Linearization
from advforensics.certificates.smoothing import Smoothed

LINEAR = "linear bounds"
FAITHFUL = 1e-5  # of the largest logit: what single precision may make of the same network
Row = dict[str, str | float | bool]


def certify_linear(
    detector: nn.Module, network: Steps, images: Tensor, labels: Tensor, norms: Sequence[Norm]
) -> list[list[Row]]:
    """Return certificates of a detector itself, for each image one for each norm.

    Args:
        detector: The detector, in evaluation mode; it says what is right when clean.
        network: The same, unrolled.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``, the true classes.
        norms: Norms of the balls.

    Returns:
        For each image rows with ``norm``, ``method``, ``radius_levels`` and ``correct``.

    Raises:
        ValueError: If detector and network do not give the same logits.
    """
    with torch.no_grad():
        logits, unrolled = detector(images), network(images.double())
    difference = float((logits - unrolled).abs().amax())
    if difference > FAITHFUL * float(logits.abs().amax()):
        raise ValueError(
            f"the detector and what its bounds are made of differ by {difference:.2g}: no bound holds for it"
        )
    right = logits.argmax(dim=1) == labels
    rows: list[list[Row]] = []
    for image, label, correct in zip(images, labels.tolist(), right.tolist(), strict=True):
        linear = Linearization(network, image, label) if correct else None
        radii = {norm: 0.0 if linear is None else linear.radius(norm) * 255 for norm in norms}
        rows.append([_row(norm, LINEAR, levels, correct) for norm, levels in radii.items()])
    return rows


def certify_smoothing(smoothed: Smoothed, images: Tensor, labels: Tensor, first: int = 0) -> list[list[Row]]:
    """Return certificates of a smoothed detector, one for each image, in a list of its own.

    A vote that is proved, but for a wrong class, has radius 0; so has one too close to call.

    Args:
        smoothed: The smoothed detector.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``, the true classes.
        first: Number of the first image; each number sees noise of its own.
    """
    method = f"smoothing, sigma {smoothed.sigma * 255:g}"
    rows: list[list[Row]] = []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), first):
        answer, eps = smoothed.certify(image, number)
        rows.append([_row("l2", method, eps * 255 if answer == label else 0.0, answer == label)])
    return rows


def _row(norm: Norm, method: str, radius_levels: float, correct: bool) -> Row:
    return {"norm": norm, "method": method, "radius_levels": radius_levels, "correct": correct}
