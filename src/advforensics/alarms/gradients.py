"""Are the gradients of a detector there, large enough, and its own?

The questions are those of Athalye, Carlini & Wagner 2018 (arXiv 1802.00420, section 3.1) and of Pintor et al. 2022
(Indicators of Attack Failure, arXiv 2106.09947).
"""

import torch
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm
from advforensics.attacks.losses import Loss, cross_entropy, margin, margins
from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.logits import predict

FLAT = 0.05  # share of images from which a missing gradient is no accident
DIFFERENCE = 0.05 * LEVEL  # far below the half level at which a detector that rounds to whole levels jumps
DIRECTIONS = 4  # tried with finite differences
WRONG = 0.3  # of a gradient's length; on honest detectors finite differences agree to 0.02
STAND_IN = (
    "Look for rounding, detach(), numpy or a saturated step; attack through a smooth stand-in for it (BPDA: Athalye et"
    " al."
    " 2018, 1802.00420), and trust black-box attacks until then."
)


def gradient_alarms(detector: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> list[Alarm]:
    """Judge the gradients of the margin, which no confidence flattens, and those of cross-entropy beside them.

    Args:
        detector: The network, in the state that `attackable` puts it into.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.
        batch_size: Images that the detector gets at once.
    """
    slopes, failure = input_gradients(detector, images, labels, margin, batch_size)
    alarms = [
        Alarm(
            "no_gradient",
            bool(failure),
            failure or "gradients reach the picture",
            f"White-box attacks cannot run. {STAND_IN}",
        )
    ]
    if failure:
        return alarms
    length = slopes.flatten(1).norm(dim=1)
    zero, finite = length == 0, torch.isfinite(length)
    alarms += [
        Alarm(
            "zero_gradients",
            float(zero.double().mean()) > FLAT,
            f"the gradient of the margin is exactly 0 for {int(zero.sum())} of {len(images)} images",
            f"White-box attacks see nothing. {STAND_IN}",
        ),
        Alarm(
            "not_finite_gradients",
            not bool(finite.all()),
            f"the gradient of the margin is NaN or infinite for {int((~finite).sum())} of {len(images)} images",
            "One such gradient ruins a picture. Look for the root or logarithm of 0 and for overflow.",
        ),
    ]
    alarms.append(_vanishing(detector, images, labels, slopes, batch_size))
    if bool(finite.all()):
        alarms.append(_masked(detector, images, labels, slopes, batch_size))
    return alarms


def input_gradients(
    detector: nn.Module, images: Tensor, labels: Tensor, loss: Loss, batch_size: int
) -> tuple[Tensor, str]:
    """Return gradients of a loss, ``(N, C, H, W)``, and why there are none, if so."""
    parts = []
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        pictures = batch.detach().clone().requires_grad_()
        try:
            losses = loss(detector(pictures), truth, None)
            (gradients,) = torch.autograd.grad(losses.sum(), pictures)
        except Exception as error:  # a stranger's detector may raise anything; whatever it is, it is the finding
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return torch.zeros_like(images), f"no gradient reaches the picture: {reason}"
        parts.append(gradients)
    return torch.cat(parts), ""


def _vanishing(detector: nn.Module, images: Tensor, labels: Tensor, slopes: Tensor, batch_size: int) -> Alarm:
    """Compare gradients with what is needed: to fell an image, and to be told apart in floating point.

    A confident detector is no broken one: that cross-entropy is nearly flat there is why attacks climb the margin. Only
    what has left the range of the number format counts.
    """
    logits = predict(detector, images, batch_size)
    number = torch.finfo(logits.dtype)
    lead = margins(logits, labels).abs()
    steep = slopes.flatten(1).abs().sum(dim=1)
    sure, _ = input_gradients(detector, images, labels, cross_entropy, batch_size)
    underflows = (sure.flatten(1).abs().amax(dim=1) < number.tiny) & (steep > 0)
    # Cross-entropy is about log K here, and its changes are smaller than its last digit.
    drowns = logits.amax(dim=1) - logits.amin(dim=1) < 8 * number.eps
    too_flat = (steep > 0) & (lead > steep)  # even from black to white it would not do, to first order
    share = (underflows | drowns | too_flat).double().mean()
    return Alarm(
        "vanishing_gradients",
        float(share) > FLAT,
        f"of {len(images)} images, cross-entropy's gradient underflows for {int(underflows.sum())}, logits differ by"
        " too"
        f" little for cross-entropy to tell for {int(drowns.sum())}, and {int(too_flat.sum())} would stay as they are,"
        " to first"
        " order, if every pixel went from black to white",
        "Attacks on cross-entropy are blind here. Divide the logits by their spread, leave out saturating layers, and"
        " attack the"
        " margin or DLR (Croce & Hein 2020, 2003.01690).",
    )


def _masked(detector: nn.Module, images: Tensor, labels: Tensor, slopes: Tensor, batch_size: int) -> Alarm:
    """Compare gradients with finite differences along random directions, by their root-mean-square disagreement."""
    length = slopes.flatten(1).norm(dim=1)
    squares = torch.zeros_like(length)
    inner = (images - 0.5).abs() < 0.5 - DIFFERENCE  # a picture that left [0, 1] may be refused
    for _ in range(DIRECTIONS):
        direction = (torch.randint_like(images, 2) * 2 - 1) * inner
        sides = [predict(detector, images + sign * DIFFERENCE * direction, batch_size) for sign in (1, -1)]
        measured = (margin(sides[0], labels, None) - margin(sides[1], labels, None)) / (2 * DIFFERENCE)
        squares += (measured - (slopes * direction).flatten(1).sum(dim=1)).square()
    wrong = (squares / DIRECTIONS).sqrt() / length.clamp_min(torch.finfo(length.dtype).tiny)
    # What is too small to be seen in the last digits of the logits cannot be measured.
    resolution = torch.finfo(sides[0].dtype).eps * sides[0].abs().amax(dim=1)
    wrong = wrong[length * DIFFERENCE > 30 * resolution]
    count = int((~(wrong < WRONG)).sum())
    middle = (
        f"; half of the images are off by {wrong.median():.2g} or more of a gradient's length" if len(wrong) else ""
    )
    return Alarm(
        "masked_gradients",
        count >= 3 and count > FLAT * len(images),
        f"finite differences contradict the gradient of {count} of {len(wrong)} images{middle}",
        "The gradient is not that of the detector: something has no derivative, or has one made up. Compare with a"
        " black box"
        " (Square) and with transfer, and attack through a smooth stand-in (BPDA: Athalye et al. 2018, 1802.00420).",
    )
