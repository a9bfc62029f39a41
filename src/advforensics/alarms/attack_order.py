"""Signs that a curve is high because the attack failed: a weak attack that beats a strong one.

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

ATTACKED = 64  # images; `beyond_chance` starts at 3, 5% of them
LEVELS = tuple(2.0**power for power in range(-4, 7))  # radii tried; the last is a quarter of the whole scale
STEPS, MORE_STEPS = 20, 60
FINER = 16.0  # levels: a second try with smaller steps, since what falls here falls at the last radius too
FEW = 0.05  # share of images that may stand at the last radius
HARMLESS = 0.9  # share of images that noise leaves right where a radius is small for the detector
MOST = 0.5  # share of images, mean of the classes; a large step turns all images into a few of many classes by accident
MUCH = 0.1  # a difference in accuracy that no curve should hide


def attack_alarms(detector: nn.Module, images: Tensor, labels: Tensor, norm: Norm, batch_size: int) -> list[Alarm]:
    """Attack in ways whose order of strength is known, and check that order.

    The attacks are one step (FGSM), noise of the same size, and an iterated attack (APGD on the margin), over radii
    from 1/16 to 64 levels. Then comes the iterated attack with more steps and a restart, where half of the images
    stand. An image that never falls costs 537 passes forward and 461 back.

    The noise test checks image by image that robust accuracy is not above accuracy under noise. Robust accuracy *below*
    accuracy under noise is no alarm: a detector that falls at half a level, while noise does nothing to it, is what
    this project is about.

    Args:
        detector: The network, in the state that `attackable` puts it into.
        images: ``(N, C, H, W)`` in [0, 1], classified right. At most 64 of them are used.
        labels: ``(N,)``.
        norm: Norm of the balls.
        batch_size: Images that the detector gets at once.
    """
    images, labels = images[:ATTACKED], labels[:ATTACKED]
    gradients, _ = input_gradients(detector, images, labels, cross_entropy, batch_size)
    fgsm_step = steepest(norm, gradients)
    attack = Ascent("iterated", norm, margin, STEPS)
    longer = Ascent("longer", norm, margin, MORE_STEPS, restarts=1)
    fgsm, noise, iterated = torch.zeros(3, len(LEVELS), len(images), dtype=torch.bool)  # which images fell, by radius
    for row, levels in enumerate(LEVELS):
        eps = levels * LEVEL
        fgsm[row] = _wrong(detector, images + eps * fgsm_step, labels, batch_size)
        for _ in range(2):
            # Random signs are as far from the picture as noise can be, in either norm.
            signs = torch.randint_like(images, 2) * 2 - 1
            noise[row] |= _wrong(detector, images + eps * signs, labels, batch_size)
        stands = ~iterated[row - 1] if row else torch.ones(len(images), dtype=torch.bool)
        iterated[row] = ~stands
        iterated[row, stands] = _fell(attack, detector, images[stands], labels[stands], levels, batch_size)
    stands = ~iterated[-1]
    stands[stands.clone()] = ~_fell(longer, detector, images[stands], labels[stands], FINER, batch_size)
    row = int(((~iterated).double().mean(dim=1) - 0.5).abs().argmin())  # here a gain shows most
    half = ~iterated[row]
    gained = _fell(longer, detector, images[half], labels[half], LEVELS[row], batch_size)
    return [
        _stronger("fgsm_stronger", "one step of FGSM", fgsm, iterated),
        _stronger("noise_stronger", "random noise of the same size", noise, iterated),
        _fgsm_overfitted(fgsm, noise, labels.cpu()),
        Alarm(
            "huge_eps_survived",
            int(stands.sum()) > FEW * len(images),
            f"{int(stands.sum())} of {len(images)} images still stand at {LEVELS[-1]:g} levels",
            "At that radius almost any picture can be turned into any other, so the attack has failed (Carlini et al."
            " 2019, 1902.06705). Find out why before you believe any curve.",
        ),
        Alarm(
            "not_converged",
            int(gained.sum()) >= MUCH * len(images),
            f"at {LEVELS[row]:g} levels {len(gained)} of {len(images)} images stand after {STEPS} steps, and"
            f" {int(gained.sum())} of these fall to {MORE_STEPS} steps with a restart",
            "The curve is too high. Give every attack more steps and restarts until the curve no longer changes (Croce"
            " & Hein 2020, 2003.01690).",
        ),
    ]


def _wrong(detector: nn.Module, pictures: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    return (predict(detector, pictures.clamp(0, 1), batch_size).argmax(dim=1) != labels).cpu()


def _fell(
    attack: Ascent, detector: nn.Module, images: Tensor, labels: Tensor, levels: float, batch_size: int
) -> Tensor:
    """Return which images, ``(N,)``, fall to an attack."""
    if len(images) == 0:
        return torch.zeros(0, dtype=torch.bool)
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    found = torch.cat([attack(detector, *batch, levels * LEVEL) for batch in batches])
    return _wrong(detector, found, labels, batch_size)


def _stronger(name: str, rival: str, rival_fell: Tensor, iterated: Tensor) -> Alarm:
    """Count images that fell to a weaker attack at some radius, where they stood after the iterated attack."""
    counts = (rival_fell & ~iterated).sum(dim=1)
    row = int(counts.argmax())
    count, images = int(counts[row]), iterated.shape[1]
    return Alarm(
        name,
        beyond_chance(count, images),
        f"at {LEVELS[row]:g} levels {count} of {images} images fall to {rival} and not to {STEPS} steps of APGD, the"
        " most at any radius",
        "A stronger attack must not find less, so the gradients mislead or the steps have the wrong size (Carlini et"
        " al. 2019, 1902.06705; Pintor et al. 2022, 2106.09947). Look for masked gradients, and count an image as"
        " fallen whichever attack it fell to.",
    )


def _fgsm_overfitted(fgsm: Tensor, noise: Tensor, labels: Tensor) -> Alarm:
    """Look for a radius where FGSM leaves most images right: more than at a smaller one, under noise, and by chance.

    Large steps, and noise, lead honest detectors to one class for everything. With accuracy averaged over the classes
    that counts as chance, whichever class it is. Where noise does no harm at all, FGSM need not be above it.
    """

    def right(wrong: Tensor) -> Tensor:
        return torch.stack([(~wrong[:, labels == label]).double().mean(dim=1) for label in labels.unique()]).mean(dim=0)

    under_fgsm, under_noise = right(fgsm), right(noise)
    usual = torch.where(under_noise < HARMLESS, under_noise, 0).clamp_min(1 / len(labels.unique()))
    rises = torch.minimum(under_fgsm - under_fgsm.cummin(dim=0).values, under_fgsm - usual)
    row = int(rises.argmax())
    lowest = int(under_fgsm[: row + 1].argmin())
    return Alarm(
        "fgsm_overfitted",
        float(rises[row]) >= MUCH and float(under_fgsm[row]) >= MOST,
        f"FGSM leaves {under_fgsm[lowest]:.1%} of images right at {LEVELS[lowest]:g} levels and {under_fgsm[row]:.1%}"
        f" at {LEVELS[row]:g} levels, where noise leaves {under_noise[row]:.1%} right (mean of the classes)",
        "The detector recognises pictures made by FGSM (catastrophic overfitting: Wong et al. 2020, 2001.03994). Do not"
        " report FGSM alone. Train at a smaller radius, with random starts or with more steps.",
    )
