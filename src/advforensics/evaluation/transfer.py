"""Pictures made on one detector and tried on others.

Whether attacks transfer decides how much it helps a defender to keep a detector secret. Barni, Kallas, Nowroozi &
Tondi 2019 (arXiv 1811.01629) report that attacks on image-forensic detectors seldom do. A forensic trace is fragile,
though, and any change of a picture may wipe it out. So beside the surrogates stands a control that attacks nothing,
random signs of the same size. What the control does not explain is transfer.
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
from advforensics.detectors.logits import predict
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.sample_predictions import sample_predictions
from advforensics.persistence.journal import seed_of

DOMAINS = ("float", "8bit")


def transferred(
    surrogate: str,
    attack: TorchAttack | RandomSigns,
    detectors: Mapping[str, TrainedDetector],
    images: EvaluationSet,
    clean: Mapping[str, pd.DataFrame],
    eps_levels: Sequence[float],
    batch_size: int,
    seed: int,
) -> pd.DataFrame:
    """Attack one surrogate, and judge the pictures by every detector.

    Args:
        surrogate: Name of the detector that is attacked; a name not among ``detectors`` is the control's.
        attack: The attack.
        detectors: All detectors by name.
        images: What is attacked.
        clean: What each detector says of the clean images, by name; from :func:`judged`.
        eps_levels: Radii in levels; 0, the clean pictures, is always among the rows.
        batch_size: Images attacked at once.
        seed: Of the attack; each batch and radius has a seed of its own.

    Returns:
        One row per target, radius, domain and image.
    """
    # The control asks no detector anything.
    source = detectors[surrogate].detector if surrogate in detectors else nn.Identity()
    parts = []
    for levels in sorted({0.0, *map(float, eps_levels)}):
        eps = levels * LEVEL
        batches = []
        pairs = zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True)
        for number, (batch, labels) in enumerate(pairs):
            torch.manual_seed(seed_of(seed, f"{surrogate}-{attack.norm}-{levels!r}-{attack.name}-{number}"))
            batches.append(attack(source, batch, labels, eps) if eps else batch)
        made = torch.cat(batches)
        pictures = {"float": made, "8bit": to_8bit(attack.norm, eps, images.images, made)}
        for domain, (target, trained) in product(DOMAINS, detectors.items()):
            untouched = torch.equal(pictures[domain], images.images)
            rows = clean[target] if untouched else judged(trained.detector, pictures[domain], images, batch_size)
            parts.append(rows.assign(target=target, eps_levels=levels, domain=domain))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(surrogate=surrogate, attack=attack.name, norm=attack.norm, knowledge="transfer")


def judged(detector: nn.Module, pictures: Tensor, images: EvaluationSet, batch_size: int) -> pd.DataFrame:
    """Return one row per image: what a detector says of the picture that was made of it."""
    logits = predict(detector, pictures, batch_size)
    return sample_predictions(images, pictures, logits).drop(columns="rms_levels")
