"""The price of an evaluation, told before it begins."""

import time

import torch

from advforensics.attacks.attackable import attackable
from advforensics.detectors.device import device_of
from advforensics.evaluation.parts import Parts

PROBING = 1000  # passes for each picture that the alarms take, at most
PASSES = 100  # there and back: what a picture that stands at some radii may take, in the order of magnitude


def pass_seconds(parts: Parts) -> float:
    """Return how long a pass takes for a picture of middling size: forward, and back if attacks climb gradients."""
    sample = parts.images.sample()
    images = sample.first(parts.batch_size(sample))
    detector, gradients = parts.trained.detector, parts.gradients == "own"
    pictures = images.images.to(device_of(detector))
    mirrored = pictures.flip(3).requires_grad_(gradients)  # new to what keeps its answers
    with attackable(detector), torch.set_grad_enabled(gradients):
        detector(pictures)  # the first pass does what is done once
        began = time.perf_counter()
        logits = detector(mirrored)
        if gradients:
            torch.autograd.grad(logits.sum(), mirrored)
        return (time.perf_counter() - began) / len(pictures)


def affordable(parts: Parts, seconds: float, probed: int) -> int:
    """Return how many pictures an evaluation can take in so many seconds, at this price.

    Args:
        parts: The evaluation.
        seconds: What it may take.
        probed: Pictures that the alarms of the detector itself take.

    Raises:
        ValueError: If not even two of each class can be taken.
    """
    a_pass, least = pass_seconds(parts), 2 * len(parts.trained.classes)
    alarms = PROBING * probed * a_pass if parts.gradients == "own" else 0.0
    pictures = int((seconds - alarms) / (PASSES * a_pass))
    if pictures < least:
        needed = alarms + least * PASSES * a_pass
        raise ValueError(
            f"budget={seconds:g}: {least} pictures and the alarms take about {needed:.0f} seconds (a pass"
            f" {a_pass:.2g}): give that, or fewer pictures to the alarms with probed=N"
        )
    return pictures


def price(parts: Parts, probed: int) -> str:
    """Say what an evaluation would take, in the order of magnitude; arguments as for `affordable`."""
    height, width = parts.images.sample().images.shape[2:]
    a_pass, gradients = pass_seconds(parts), parts.gradients == "own"
    alarms = f"; its alarms up to {_in_words(PROBING * probed * a_pass)}" if gradients else ""
    return (
        f"{'forward and back' if gradients else 'forward'}, a picture of {width}x{height} pixels takes"
        f" {a_pass:.2g} s. One that falls at once costs a few dozen of these, one that stands as many at each"
        f" radius and domain: {PASSES} of them for each of {parts.images.number} pictures are"
        f" {_in_words(PASSES * a_pass * parts.images.number)}{alarms}"
    )


def _in_words(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
