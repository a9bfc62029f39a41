"""Adversarial examples made on one detector and tried on others.

If attacks do not transfer, it helps a defender to keep the detector secret. Barni, Kallas, Nowroozi & Tondi 2019
(arXiv 1811.01629) report that attacks on image-forensic detectors seldom transfer. A forensic trace is fragile, though:
any change of a picture may destroy it. So beside the surrogates there is a control, random signs of the same size. What
fools more detectors than the control has transferred.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.random_signs import RandomSigns
from advforensics.attacks.threat_model import LEVEL, to_8bit
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.device import device_of
from advforensics.detectors.logits import predict
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.sample_predictions import sample_predictions
from advforensics.persistence.journal import seed_of


def attack_surrogate(
    surrogate: str,
    attack: TorchAttack | RandomSigns,
    detectors: Mapping[str, TrainedDetector],
    images: EvaluationSet,
    clean: Mapping[str, pd.DataFrame],
    eps_levels: Sequence[float],
    batch_size: int,
    seed: int,
) -> pd.DataFrame:
    """Attack one surrogate, and show the pictures to every detector.

    Args:
        surrogate: Name of the detector that is attacked; a name not among ``detectors`` is the control's.
        attack: The attack.
        detectors: All detectors by name.
        images: What is attacked.
        clean: For each detector by name, what :func:`predictions` returns for the clean images.
        eps_levels: Radii in levels; 0, the clean pictures, is always among the rows.
        batch_size: Images attacked at once.
        seed: Seed of the attack; each batch and radius has a seed of its own.

    Returns:
        One row per target, radius, domain and image.
    """
    # The control needs no detector.
    source = detectors[surrogate].detector if surrogate in detectors else nn.Identity()
    device = device_of(source)
    parts = []
    for levels in sorted({0.0, *map(float, eps_levels)}):
        eps = levels * LEVEL
        batches = []
        pairs = zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True)
        for number, (batch, labels) in enumerate(pairs):
            torch.manual_seed(seed_of(seed, f"{surrogate}-{attack.norm}-{levels!r}-{attack.name}-{number}"))
            batches.append(attack(source, batch.to(device), labels.to(device), eps).cpu() if eps else batch)
        adversarial = torch.cat(batches)
        pictures = {"float": adversarial, "8bit": to_8bit(attack.norm, eps, images.images, adversarial)}
        for (domain, delivered), (target, trained) in product(pictures.items(), detectors.items()):
            unchanged = torch.equal(delivered, images.images)
            rows = clean[target] if unchanged else predictions(trained.detector, delivered, images, batch_size)
            parts.append(rows.assign(target=target, eps_levels=levels, domain=domain))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(surrogate=surrogate, attack=attack.name, norm=attack.norm, knowledge="transfer")


def predictions(detector: nn.Module, pictures: Tensor, images: EvaluationSet, batch_size: int) -> pd.DataFrame:
    """Return one row per image: what a detector predicts for the picture made from it."""
    logits = predict(detector, pictures, batch_size)
    return sample_predictions(images, pictures, logits).drop(columns="rms_levels")
