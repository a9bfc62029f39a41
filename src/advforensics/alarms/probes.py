"""Alarms that need the detector: can it be attacked at all, and does an attack work on it?

A detector is probed as a sweep sees it, in evaluation mode. First come forward passes, here, then gradients, in
:mod:`advforensics.alarms.gradients`, and attacks, in :mod:`advforensics.alarms.attack_order`. The symptoms are those
of Carlini et al. 2019 (arXiv 1902.06705), Athalye, Carlini & Wagner 2018 (arXiv 1802.00420) and Pintor et al.
2022 (arXiv 2106.09947).
"""

import torch
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm
from advforensics.alarms.attack_order import attack_alarms
from advforensics.alarms.gradients import gradient_alarms
from advforensics.attacks.attackable import attackable
from advforensics.attacks.threat_model import Norm
from advforensics.detectors.device import device_of
from advforensics.detectors.logits import predict

IMAGES = 128
FORWARD_IMAGES = 32  # for the forward passes that are repeated: small batches stay in the cache
FATAL = ("forward_fails", "too_few_logits", "not_finite", "no_gradient")  # after these nothing more can be probed
DIFFERENT = 1e-4  # share of the spread of the logits; sums in another order differ by 1e-6


def probe(
    detector: nn.Module, images: Tensor, labels: Tensor, *, norm: Norm = "linf", seed: int = 0, batch_size: int = 32
) -> list[Alarm]:
    """Return the alarms of a detector. That it cannot be called is a fired alarm, not an error.

    After a failure, alarms that could not be probed any more are missing. However many images there are, at most 36,100
    go through the detector and 29,800 back: 5 passes with 32, 12 forward and 2 back with 128, and what `attack_alarms`
    says with 64.

    Args:
        detector: From images to logits ``(N, K)``; each module keeps its mode. State that a forward pass changes in
            evaluation mode stays changed.
        images: ``(N, C, H, W)`` in [0, 1]. At most 128 of them are used, drawn at random.
        labels: ``(N,)``, the true classes.
        norm: Norm of the balls of the attacks.
        seed: Seed of the draw, the noise and the attacks.
        batch_size: Images that the detector gets at once, at most. With 1, no alarm can tell whether an answer depends
            on the other images of its batch.

    Raises:
        ValueError: If there are no images, or not one label for each.
    """
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(f"probing needs images and a label for each, got {len(images)} and {tuple(labels.shape)}")
    with attackable(detector):
        torch.manual_seed(seed)
        drawn, device = torch.randperm(len(images))[:IMAGES], device_of(detector)
        images, labels = images[drawn].to(device), labels[drawn].to(device)
        alarms = forward_alarms(detector, images, int(labels.max()) + 1, batch_size)
        if any(alarm.fired for alarm in alarms if alarm.name in FATAL):
            return alarms
        try:
            alarms += gradient_alarms(detector, images, labels, batch_size)
            if any(alarm.fired for alarm in alarms if alarm.name in FATAL):
                return alarms
            right = predict(detector, images, batch_size).argmax(dim=1) == labels
            if right.any():
                alarms += attack_alarms(detector, images[right], labels[right], norm, batch_size)
            failure = ""
        except Exception as error:  # as in `forward_alarms`
            failure = f"under attack it raises {_describe(error)}"
        failed = Alarm(
            "attack_fails",
            bool(failure),
            failure or f"every attack on {len(images)} images ran to its end",
            "Such a sweep says nothing. Let the detector take any picture in [0, 1], with gradients on.",
        )
        return [*alarms, failed]


def forward_alarms(detector: nn.Module, images: Tensor, classes: int, batch_size: int) -> list[Alarm]:
    """Return the alarms that five forward passes tell, with the modules in the mode they are in.

    Args:
        detector: As for `probe`.
        images: ``(N, C, H, W)``; only the first batch of them is used, 32 at most.
        classes: How many classes there are at least.
        batch_size: Images that the detector gets at once, at most.
    """
    images = images[: min(FORWARD_IMAGES, batch_size)].to(device_of(detector))
    training = sum(module.training for module in detector.modules())
    alarms = [
        Alarm(
            "training_mode",
            training > 0,
            f"{training} of {sum(1 for _ in detector.modules())} modules are in training mode after eval()",
            "Let modules obey eval(): batch statistics and dropout make answers depend on the batch and on chance.",
        )
    ]
    behaviour: list[Alarm] = []
    with torch.no_grad():
        try:
            logits = detector(images)
            failure = _shape_failure(logits, len(images))
            behaviour = [] if failure else _behaviour(detector, images, logits)
        except Exception as error:  # foreign detectors may raise anything, and that is the finding
            failure = f"it raises {_describe(error)}"
    alarms.append(
        Alarm(
            "forward_fails",
            bool(failure),
            failure or f"{len(images)} images give logits of shape {tuple(logits.shape)}, {logits.dtype}",
            "Wrap the detector so that it takes float images (N, C, H, W) in [0, 1] and returns logits (N, K).",
        )
    )
    if failure:
        return alarms
    values = _values(logits.flatten(1) if logits.ndim > 1 else logits[:, None], classes)
    unfit = any(alarm.fired for alarm in values if alarm.name in FATAL)
    return [*alarms, *values] if unfit else [*alarms, *values, *behaviour]


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _shape_failure(logits: object, images: int) -> str:
    if not isinstance(logits, Tensor):
        return f"it returns {type(logits).__name__}, not a tensor"
    if not logits.is_floating_point() or logits.ndim not in (1, 2) or len(logits) != images:
        return f"it returns {tuple(logits.shape)} of {logits.dtype} for {images} images"
    return ""


def _values(logits: Tensor, classes: int) -> list[Alarm]:
    """Check the values of logits ``(N, K)``."""
    finite = torch.isfinite(logits).all(dim=1)
    sums = logits.sum(dim=1)
    return [
        Alarm(
            "too_few_logits",
            logits.shape[1] < max(classes, 2),
            f"{logits.shape[1]} logits for labels of {classes} classes",
            "With one logit cross-entropy is always 0, and no attack finds a gradient. Return one for each class; for a"
            " binary output say target.answers=logit.",
        ),
        Alarm(
            "not_finite",
            not bool(finite.all()),
            f"{int((~finite).sum())} of {len(logits)} images have a logit that is NaN or infinite",
            "No attack can climb such a loss. Look for overflow and for division by zero.",
        ),
        Alarm(
            "probabilities",
            bool((logits >= 0).all() and ((sums - 1).abs() < 1e-3).all()),
            f"outputs lie in [{logits.min():.3g}, {logits.max():.3g}], and their sum per image lies in"
            f" [{sums.min():.4g}, {sums.max():.4g}]",
            "Losses apply softmax once more, which flattens them where the detector is sure (Carlini & Wagner 2016,"
            " 1608.04644). Say target.answers=probabilities, or leave out the softmax.",
        ),
    ]


def _behaviour(detector: nn.Module, images: Tensor, logits: Tensor) -> list[Alarm]:
    """Check whether logits depend on anything but their picture: on chance, earlier passes or the rest of the batch."""
    before = {name: value.clone() for name, value in detector.state_dict().items() if isinstance(value, Tensor)}
    half = len(images) // 2 + len(images) % 2
    repeated = detector(images)
    detector(torch.rand_like(images))
    later = detector(images)
    other_batch = detector(torch.cat([images[:half], torch.rand_like(images[half:])]))
    after = detector.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value.nan_to_num(), after[name].nan_to_num())]

    spread = logits.std(dim=0, correction=0).amax().clamp_min(1e-2 * logits.abs().amax()).clamp_min(1e-30)
    by_chance, by_state, by_batch = (
        float((one - other).abs().amax() / spread)
        for one, other in ((logits, repeated), (repeated, later), (later[:half], other_batch[:half]))
    )
    example = f", such as {changed[0]}" if changed else ""
    return [
        Alarm(
            "random_forward",
            by_chance > DIFFERENT,
            f"two passes over the same images differ by {by_chance:.2g} of the spread of the logits",
            "A single draw makes any attack look weak. Fix the random numbers, or attack the expectation over many"
            " draws in each step (EOT: Athalye et al. 2018, 1802.00420).",
        ),
        Alarm(
            "state_in_forward",
            bool(changed) or (by_state > DIFFERENT and by_chance <= DIFFERENT),
            f"after a pass over other images logits differ by {by_state:.2g} of their spread, and {len(changed)} of"
            f" {len(before)} parameters and buffers have changed{example}",
            "An attack would change the detector. Let eval() stop running statistics, counters and caches.",
        ),
        Alarm(
            "batch_dependence",
            by_batch > DIFFERENT and by_chance <= DIFFERENT,
            f"in a batch with other images logits differ by {by_batch:.2g} of their spread",
            "Robust accuracy then depends on the batches. Use stored statistics in place of the batch's.",
        ),
    ]
