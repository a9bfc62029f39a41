"""Signs that a curve is high because the attack failed: attacks that contradict each other.

The list follows Carlini et al. 2019 (arXiv 1902.06705, section 4) and Athalye, Carlini & Wagner 2018 (arXiv 1802.00420,
section 3.1).
"""

import torch
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm, beyond_chance
from advforensics.alarms.gradients import input_gradients
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import cross_entropy, margin
from advforensics.attacks.steps import steepest
from advforensics.attacks.threat_model import LEVEL, Norm
from advforensics.detectors.logits import predict

ATTACKED = 64  # images: 3 of them, `beyond_chance`, are 5%
LEVELS = tuple(2.0**power for power in range(-4, 7))  # radii tried; the last is a quarter of the whole scale
STEPS, LONGER = 20, 60
FINER = 16.0  # levels; what falls there has fallen at the last radius too
FEW = 0.05  # share of images that may stand at the last radius
HARMLESS = 0.9  # share of images that noise leaves right, where a radius is small in the detector's own measure
MOST = 0.5  # share of images, mean of the classes: one large step takes a few of many classes to themselves by accident
MUCH = 0.1  # a difference in accuracy that no curve should hide


def attack_alarms(detector: nn.Module, images: Tensor, labels: Tensor, norm: Norm, batch_size: int) -> list[Alarm]:
    """Attack in ways whose order of strength is known, and see whether they keep it.

    One step (FGSM), noise of the same size, and an iterated attack (APGD on the margin) over radii from 1/16 to 64
    levels; then an iterated attack with more steps and a restart, where half of the images stand. For an image that
    never falls that is 537 passes forward and 461 back.

    The noise test reads "robust accuracy must not be above the accuracy under noise", image by image. That robust
    accuracy is *below* that under noise is no alarm: a forensic detector that falls to half a level while noise does
    nothing to it is what this project is about.

    Args:
        detector: The network, in the state that `attackable` puts it into.
        images: ``(N, C, H, W)`` in [0, 1], classified right. At most 64 of them are used.
        labels: ``(N,)``.
        norm: Norm of the balls.
        batch_size: Images that the detector gets at once.
    """
    images, labels = images[:ATTACKED], labels[:ATTACKED]
    gradients, _ = input_gradients(detector, images, labels, cross_entropy, batch_size)
    uphill = steepest(norm, gradients)
    attack = Ascent("iterated", norm, margin, STEPS)
    fgsm, noise, iterated = torch.zeros(3, len(LEVELS), len(images), dtype=torch.bool)
    for row, eps in enumerate(level * LEVEL for level in LEVELS):
        fgsm[row] = _wrong(detector, images + eps * uphill, labels, batch_size)
        for _ in range(2):
            # Signs at random are as far from the picture as noise can be, in either norm.
            signs = torch.randint_like(images, 2) * 2 - 1
            noise[row] |= _wrong(detector, images + eps * signs, labels, batch_size)
        stands = ~iterated[row - 1] if row else torch.ones(len(images), dtype=torch.bool)
        iterated[row] = ~stands
        if stands.any():
            iterated[row, stands] = _felled(attack, detector, images[stands], labels[stands], eps, batch_size)
    return [
        _weaker("fgsm_stronger", "one step of FGSM", fgsm, iterated),
        _weaker("noise_stronger", "random noise of the same size", noise, iterated),
        _fgsm_overfitted(fgsm, noise, labels.cpu()),
        _survives(detector, images, labels, iterated, norm, batch_size),
        _not_converged(detector, images, labels, iterated, norm, batch_size),
    ]


def _wrong(detector: nn.Module, pictures: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    return (predict(detector, pictures.clamp(0, 1), batch_size).argmax(dim=1) != labels).cpu()


def _felled(attack: Ascent, detector: nn.Module, images: Tensor, labels: Tensor, eps: float, batch_size: int) -> Tensor:
    """Return which images, ``(N,)``, an attack fells, a batch at a time."""
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    return torch.cat([_wrong(detector, attack(detector, *batch, eps), batch[1], batch_size) for batch in batches])


def _weaker(name: str, rival: str, theirs: Tensor, iterated: Tensor) -> Alarm:
    """Count images that a weaker attack felled at some radius, at which the iterated attack had not."""
    counts = (theirs & ~iterated).sum(dim=1)
    row = int(counts.argmax())
    count, images = int(counts[row]), iterated.shape[1]
    return Alarm(
        name,
        beyond_chance(count, images),
        f"at {LEVELS[row]:g} levels {rival} fells {count} of {images} images that {STEPS} steps of APGD do not;"
        " at no radius are there more",
        "More effort must not find less, so the gradients mislead or the steps are of the wrong size (Carlini et al."
        " 2019,"
        " 1902.06705; Pintor et al. 2022, 2106.09947). Look for masked gradients, and count what any attack fells.",
    )


def _fgsm_overfitted(fgsm: Tensor, noise: Tensor, labels: Tensor) -> Alarm:
    """Look for a radius where FGSM leaves more images right than at a smaller one, than noise and than chance do: most.

    Large steps, and noise, lead honest detectors to one answer for everything. Recalls are averaged over classes, so
    that this counts as chance whichever answer it is. Where noise does no harm at all, FGSM need not be above it.
    """

    def right(wrong: Tensor) -> Tensor:
        return torch.stack([(~wrong[:, labels == label]).double().mean(dim=1) for label in labels.unique()]).mean(dim=0)

    stands, under_noise = right(fgsm), right(noise)
    usual = torch.where(under_noise < HARMLESS, under_noise, 0).clamp_min(1 / len(labels.unique()))
    rises = torch.minimum(stands - stands.cummin(dim=0).values, stands - usual)
    row = int(rises.argmax())
    shorter = int(stands[: row + 1].argmin())
    return Alarm(
        "fgsm_overfitted",
        float(rises[row]) >= MUCH and float(stands[row]) >= MOST,
        f"FGSM leaves {stands[shorter]:.1%} of images right at {LEVELS[shorter]:g} levels and {stands[row]:.1%} at"
        f" {LEVELS[row]:g}, where noise leaves {under_noise[row]:.1%} (mean of the classes)",
        "The detector has learned to spot pictures made by FGSM (catastrophic overfitting: Wong et al. 2020,"
        " 2001.03994). Never"
        " report FGSM alone; train at a smaller radius, with random starts or more steps.",
    )


def _survives(
    detector: nn.Module, images: Tensor, labels: Tensor, iterated: Tensor, norm: Norm, batch_size: int
) -> Alarm:
    """Count what stands at the largest radius, after another try with a finer step."""
    stands = ~iterated[-1]
    if stands.any():
        stands[stands.clone()] = ~_longer(detector, images[stands], labels[stands], FINER, norm, batch_size)
    count = int(stands.sum())
    return Alarm(
        "huge_eps_survived",
        count > FEW * len(images),
        f"{count} of {len(images)} images still stand at {LEVELS[-1]:g} levels",
        "At such a radius a picture can be turned into almost any other, so the attack has failed (Carlini et al. 2019,"
        " 1902.06705). Find out why before any curve is believed.",
    )


def _not_converged(
    detector: nn.Module, images: Tensor, labels: Tensor, iterated: Tensor, norm: Norm, batch_size: int
) -> Alarm:
    """Try longer where a gain could show most: at the radius at which nearest to half of the images stand."""
    stand = ~iterated
    row = int((stand.double().mean(dim=1) - 0.5).abs().argmin())
    count = int(_longer(detector, images[stand[row]], labels[stand[row]], LEVELS[row], norm, batch_size).sum())
    return Alarm(
        "not_converged",
        count >= MUCH * len(images),
        f"at {LEVELS[row]:g} levels {LONGER} steps twice fell {count} of {len(images)} images that {STEPS} steps once"
        " left"
        f" ({int(stand[row].sum())} stood)",
        "The curve is above where it would end. Give every attack more steps and restarts until it no longer falls"
        " (Croce &"
        " Hein 2020, 2003.01690).",
    )


def _longer(detector: nn.Module, images: Tensor, labels: Tensor, levels: float, norm: Norm, batch_size: int) -> Tensor:
    """Return which images, ``(N,)``, a longer attack fells."""
    if len(images) == 0:
        return torch.zeros(0, dtype=torch.bool)
    attack = Ascent("longer", norm, margin, LONGER, restarts=1)
    return _felled(attack, detector, images, labels, levels * LEVEL, batch_size)
