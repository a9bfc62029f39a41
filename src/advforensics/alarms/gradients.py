"""Do the gradients of a detector exist, are they large enough, and are they right?

The checks are those of Athalye, Carlini & Wagner 2018 (arXiv 1802.00420, section 3.1) and of Pintor et al. 2022
(Indicators of Attack Failure, arXiv 2106.09947).
"""

import torch
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm
from advforensics.attacks.losses import Loss, cross_entropy, margin, margins
from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.logits import predict

SHARE = 0.05  # of the images: from here on missing gradients are no accident
DIFFERENCE = 0.05 * LEVEL  # far below half a level, where a detector that rounds to whole levels jumps
DIRECTIONS = 4  # along which finite differences are taken
WRONG = 0.3  # error as a share of a gradient's length; on honest detectors finite differences agree to 0.02
SUBSTITUTE = (
    "Look for rounding, detach(), numpy or a saturated layer. Attack through a differentiable substitute (BPDA: Athalye"
    " et al. 2018, 1802.00420), and until then trust black-box attacks only."
)


def gradient_alarms(detector: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> list[Alarm]:
    """Check the gradients of the margin, which no confidence flattens, and those of cross-entropy.

    Args:
        detector: The network, in the state that `attackable` puts it into.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.
        batch_size: Images that the detector gets at once.
    """
    gradients, failure = input_gradients(detector, images, labels, margin, batch_size)
    missing = Alarm(
        "no_gradient",
        bool(failure),
        failure or f"gradients of {len(images)} images reach the picture",
        f"White-box attacks cannot run. {SUBSTITUTE}",
    )
    if failure:
        return [missing]
    length = gradients.flatten(1).norm(dim=1)
    zero, finite = length == 0, torch.isfinite(length)
    alarms = [
        missing,
        Alarm(
            "zero_gradients",
            float(zero.double().mean()) > SHARE,
            f"the gradient of the margin is exactly 0 for {int(zero.sum())} of {len(images)} images",
            f"White-box attacks have no direction to follow. {SUBSTITUTE}",
        ),
        Alarm(
            "not_finite_gradients",
            not bool(finite.all()),
            f"the gradient of the margin is NaN or infinite for {int((~finite).sum())} of {len(images)} images",
            "One such gradient ruins a picture. Look for a root or logarithm of 0, and for overflow.",
        ),
        _vanishing(detector, images, labels, gradients, batch_size),
    ]
    if bool(finite.all()):
        alarms.append(_masked(detector, images, labels, gradients, batch_size))
    return alarms


def input_gradients(
    detector: nn.Module, images: Tensor, labels: Tensor, loss: Loss, batch_size: int
) -> tuple[Tensor, str]:
    """Return gradients of a loss, ``(N, C, H, W)``, and an empty text, or the reason why there are none."""
    parts = []
    for batch, batch_labels in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        pictures = batch.detach().clone().requires_grad_()
        try:
            losses = loss(detector(pictures), batch_labels, None)
            (gradients,) = torch.autograd.grad(losses.sum(), pictures)
        except Exception as error:  # foreign detectors may raise anything, and that is the finding
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return torch.zeros_like(images), f"no gradient reaches the picture: {reason}"
        parts.append(gradients)
    return torch.cat(parts), ""


def _vanishing(detector: nn.Module, images: Tensor, labels: Tensor, gradients: Tensor, batch_size: int) -> Alarm:
    """Check that gradients are large enough to make an image fall, and to be told apart in floating point.

    A confident detector is not broken: cross-entropy is nearly flat there, so attacks climb the margin. Only what has
    left the range of the number format counts.
    """
    logits = predict(detector, images, batch_size)
    number = torch.finfo(logits.dtype)
    slope = gradients.flatten(1).abs().sum(dim=1)
    of_cross_entropy, _ = input_gradients(detector, images, labels, cross_entropy, batch_size)
    underflows = (of_cross_entropy.flatten(1).abs().amax(dim=1) < number.tiny) & (slope > 0)
    # Cross-entropy is about log K here, and its changes are smaller than its last digit.
    equal = logits.amax(dim=1) - logits.amin(dim=1) < 8 * number.eps
    # To first order, not even a change from black to white would make these images fall.
    too_flat = (slope > 0) & (margins(logits, labels).abs() > slope)
    share = (underflows | equal | too_flat).double().mean()
    return Alarm(
        "vanishing_gradients",
        float(share) > SHARE,
        f"of {len(images)} images, the gradient of cross-entropy underflows for {int(underflows.sum())}, the logits are"
        f" too close for cross-entropy to tell apart for {int(equal.sum())}, and {int(too_flat.sum())} would stand, to"
        " first order, if every pixel went from black to white",
        "Attacks on cross-entropy see no gradient. Divide the logits by their spread, remove saturating layers, and"
        " attack the margin or DLR (Croce & Hein 2020, 2003.01690).",
    )


def _masked(detector: nn.Module, images: Tensor, labels: Tensor, gradients: Tensor, batch_size: int) -> Alarm:
    """Compare gradients with finite differences along random directions, by their root-mean-square difference."""
    length = gradients.flatten(1).norm(dim=1)
    squares = torch.zeros_like(length)
    inner = (images - 0.5).abs() < 0.5 - DIFFERENCE  # a detector may refuse a picture that leaves [0, 1]
    for _ in range(DIRECTIONS):
        direction = (torch.randint_like(images, 2) * 2 - 1) * inner
        sides = [predict(detector, images + sign * DIFFERENCE * direction, batch_size) for sign in (1, -1)]
        measured = (margin(sides[0], labels, None) - margin(sides[1], labels, None)) / (2 * DIFFERENCE)
        squares += (measured - (gradients * direction).flatten(1).sum(dim=1)).square()
    error = (squares / DIRECTIONS).sqrt() / length.clamp_min(torch.finfo(length.dtype).tiny)
    # Differences in the last digits of the logits cannot be measured.
    resolution = torch.finfo(sides[0].dtype).eps * sides[0].abs().amax(dim=1)
    error = error[length * DIFFERENCE > 30 * resolution]
    count = int((~(error < WRONG)).sum())
    median = f"; the median error is {error.median():.2g} of a gradient's length" if len(error) else ""
    return Alarm(
        "masked_gradients",
        count >= 3 and count > SHARE * len(images),
        f"finite differences contradict the gradients of {count} of {len(error)} images{median}",
        "The gradient is not that of the detector: a part of it has no derivative, or one that was made up. Compare"
        " with a black-box attack (Square) and with transfer, and attack through a differentiable substitute (BPDA:"
        " Athalye et al. 2018, 1802.00420).",
    )
