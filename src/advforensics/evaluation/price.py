"""The price of an evaluation, told before it begins."""

import time

import torch

from advforensics.attacks.attackable import attackable
from advforensics.detectors.device import device_of
from advforensics.evaluation.parts import Parts

PASSES = 100  # there and back: what a picture that stands at some radii may take, in the order of magnitude


def price(parts: Parts) -> str:
    """Time one pass over pictures of middling size, and say what an evaluation would take."""
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
        pass_seconds = (time.perf_counter() - began) / len(pictures)
    height, width = pictures.shape[2:]
    return (
        f"{'forward and back' if gradients else 'forward'}, a picture of {width}x{height} pixels takes"
        f" {pass_seconds:.2g} s. One that falls at once costs a few dozen of these, one that stands as many at each"
        f" radius and domain: {PASSES} of them for each of {parts.images.number} pictures are"
        f" {_in_words(PASSES * pass_seconds * parts.images.number)}"
    )


def _in_words(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
