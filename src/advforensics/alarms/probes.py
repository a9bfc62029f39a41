"""What only the detector itself can tell against its sweep: is it fit to be attacked, and does an attack work on it?

A detector is judged as a sweep sees it, in evaluation mode. First come forward passes, here; then gradients, in
:mod:`advforensics.alarms.gradients`, and attacks, in :mod:`advforensics.alarms.attack_order`. The symptoms are those
listed by Carlini et al. 2019 (arXiv 1902.06705), Athalye, Carlini & Wagner 2018 (arXiv 1802.00420) and Pintor et al.
2022 (arXiv 2106.09947).
"""

import torch
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm
from advforensics.alarms.attack_order import attack_alarms
from advforensics.alarms.gradients import gradient_alarms
from advforensics.attacks.attackable import attackable
from advforensics.attacks.threat_model import Norm
from advforensics.detectors.logits import predict

IMAGES = 128
TOGETHER = 32  # images in a forward pass that is repeated: small batches stay in the cache
FATAL = ("forward_fails", "too_few_logits", "not_finite", "no_gradient")  # after these nothing more can be probed
DIFFERENT = 1e-4  # of the spread of the logits; sums in another order differ by 1e-6


def probe(
    detector: nn.Module, images: Tensor, labels: Tensor, *, norm: Norm = "linf", seed: int = 0, batch_size: int = 32
) -> list[Alarm]:
    """Return the verdict on a detector; one that cannot even be called is a fired alarm, not an error.

    What could not be probed, because the detector fails before it, is not among the alarms. However many images there
    are, 36,100 of them go through the detector at most and 29,800 back: 5 passes with 32, 12 forward and 2 back with
    128, and what `attack_alarms` says with 64.

    Args:
        detector: From images to logits ``(N, K)``; each module keeps its mode. Whatever a forward pass changes in it
            in evaluation mode stays changed.
        images: ``(N, C, H, W)`` in [0, 1]. At most 128 of them are used, drawn at random.
        labels: ``(N,)``, the true classes.
        norm: Norm of the balls that attacks are tried in.
        seed: Of the draw, the noise and the attacks.
        batch_size: Images that the detector gets at once, at most. Of a single one nobody can tell whether its answer
            depends on others beside it.

    Raises:
        ValueError: If there are no images, or not one label for each.
    """
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(f"probing needs images and a label for each, got {len(images)} and {tuple(labels.shape)}")
    with attackable(detector):
        torch.manual_seed(seed)
        chosen = torch.randperm(len(images))[:IMAGES].to(images.device)
        images, labels = images[chosen], labels[chosen]
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
            failure = f"attacked, it raises {_told(error)}"
        failed = Alarm(
            "attack_fails",
            bool(failure),
            failure or "every attack ran to its end",
            "An attack that cannot run proves nothing. The detector must take any picture in [0, 1], with gradients"
            " on.",
        )
        return [*alarms, failed]


def forward_alarms(detector: nn.Module, images: Tensor, classes: int, batch_size: int) -> list[Alarm]:
    """Return what five forward passes tell, in the modes that the detector is in.

    Args:
        detector: As for `probe`.
        images: ``(N, C, H, W)``; the first of them are used, one batch, 32 at most.
        classes: How many classes there are at least.
        batch_size: Images that the detector gets at once, at most.
    """
    images = images[: min(TOGETHER, batch_size)]
    training = sum(module.training for module in detector.modules())
    alarms = [
        Alarm(
            "training_mode",
            training > 0,
            f"{training} of {sum(1 for _ in detector.modules())} modules are in training mode after eval()",
            "Let the module obey eval(): batch statistics and dropout make an answer depend on chance and neighbours.",
        )
    ]
    behaviour: list[Alarm] = []
    with torch.no_grad():
        try:
            logits = detector(images)
            failure = _shape_failure(logits, len(images))
            behaviour = [] if failure else _behaviour(detector, images, logits)
        except Exception as error:  # a stranger's detector may raise anything; whatever it is, it is the finding
            failure = f"it raises {_told(error)}"
    alarms.append(
        Alarm(
            "forward_fails",
            bool(failure),
            failure or f"{len(images)} images give logits of shape {tuple(logits.shape)}, {logits.dtype}",
            "The detector must take any float images (N, C, H, W) in [0, 1] and return logits (N, K). Wrap it so that"
            " it does.",
        )
    )
    if failure:
        return alarms
    values = _values(logits.flatten(1) if logits.ndim > 1 else logits[:, None], classes)
    unfit = any(alarm.fired for alarm in values if alarm.name in FATAL)
    return [*alarms, *values] if unfit else [*alarms, *values, *behaviour]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _shape_failure(logits: object, images: int) -> str:
    if not isinstance(logits, Tensor):
        return f"it returns {type(logits).__name__}, not a tensor"
    if not logits.is_floating_point() or logits.ndim not in (1, 2) or len(logits) != images:
        return f"it returns {tuple(logits.shape)} of {logits.dtype} for {images} images"
    return ""


def _values(logits: Tensor, classes: int) -> list[Alarm]:
    """Judge logits ``(N, K)`` by their values."""
    finite = torch.isfinite(logits).all(dim=1)
    sums = logits.sum(dim=1)
    return [
        Alarm(
            "too_few_logits",
            logits.shape[1] < max(classes, 2),
            f"{logits.shape[1]} logits for labels of {classes} classes",
            "Give one logit for each class, two for a yes or no: (N, 1) becomes torch.cat([0 * z, z], dim=1). With one"
            " logit"
            " cross-entropy is always 0, and no attack finds a gradient.",
        ),
        Alarm(
            "not_finite",
            not bool(finite.all()),
            f"{int((~finite).sum())} of {len(logits)} images have a logit that is NaN or infinite",
            "No attack can climb such a loss, and NaN never compares as wrong. Find the overflow, or the division by"
            " zero.",
        ),
        Alarm(
            "probabilities",
            bool((logits >= 0).all() and ((sums - 1).abs() < 1e-3).all()),
            f"outputs lie in [{logits.min():.3g}, {logits.max():.3g}], and sum to {sums.min():.4g} to {sums.max():.4g}"
            " per"
            " image",
            "Return logits: leave out the softmax, or take its logarithm. Losses apply softmax once more, which"
            " flattens them where"
            " the detector is sure (Carlini & Wagner 2016, 1608.04644).",
        ),
    ]


def _behaviour(detector: nn.Module, images: Tensor, logits: Tensor) -> list[Alarm]:
    """Ask whether an answer depends on anything but its picture: chance, what came before, neighbours."""
    before = {name: value.clone() for name, value in detector.state_dict().items() if isinstance(value, Tensor)}
    first = len(images) // 2 + len(images) % 2
    again = detector(images)
    detector(torch.rand_like(images))  # other pictures
    afterwards = detector(images)
    beside_others = detector(torch.cat([images[:first], torch.rand_like(images[first:])]))
    after = detector.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value.nan_to_num(), after[name].nan_to_num())]

    unit = logits.std(dim=0, correction=0).amax().clamp_min(1e-2 * logits.abs().amax()).clamp_min(1e-30)
    random, later, beside = (
        float((one - other).abs().amax() / unit)
        for one, other in ((logits, again), (again, afterwards), (afterwards[:first], beside_others[:first]))
    )
    return [
        Alarm(
            "random_forward",
            random > DIFFERENT,
            f"two passes over the same images differ by {random:.2g} of the spread of the logits",
            "Fix the random numbers, or attack the expectation over them with many draws per step (EOT: Athalye et al."
            " 2018,"
            " 1802.00420); a single draw makes any attack look weak.",
        ),
        Alarm(
            "state_in_forward",
            bool(changed) or (later > DIFFERENT and random <= DIFFERENT),
            f"after a pass over other images answers differ by {later:.2g} of the spread of the logits;"
            f" {len(changed)} of {len(before)} parameters and buffers changed"
            + (f", such as {changed[0]}" if changed else ""),
            "An attack alters what it attacks. Freeze the state: eval() must stop running statistics, counters and"
            " caches.",
        ),
        Alarm(
            "batch_dependence",
            beside > DIFFERENT and random <= DIFFERENT,
            f"with other images beside them answers differ by {beside:.2g} of the spread of the logits",
            "Robust accuracy then depends on the batches. Use stored statistics instead of the batch's.",
        ),
    ]
