"""Examples for the report: a few pictures before and after an attack."""

from typing import Any

import numpy as np
import torch

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.threat_model import LEVEL, to_8bit
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.device import device_of
from advforensics.detectors.logits import predict
from advforensics.evaluation.answer_map import map_of
from advforensics.evaluation.images import EvaluationSet


def make_examples(
    trained: TrainedDetector,
    targets: EvaluationSet,
    attack: TorchAttack,
    number: int,
    eps_levels: float,
    batch_size: int,
) -> dict[str, Any]:
    """Attack at most ``number`` pictures of different classes and photographs, at a radius in levels.

    Returns:
        ``clean`` and ``adversarial`` pictures of whole levels, ``(N, C, H, W)`` in [0, 1], a map of where each clean
        one's answer lies, ``where``, ``(N, rows, columns)`` in [0, 1], the true ``labels`` ``(N,)``, and the classes
        ``predicted_clean`` and ``predicted_adversarial``, ``(N,)``.
    """
    detector = trained.detector
    right = predict(detector, targets.images, batch_size).argmax(dim=1) == targets.labels
    by_group: dict[str, int] = {}  # an index for each class, each from a photograph of its own
    for label in range(len(trained.classes)):
        candidates = (right & (targets.labels == label)).nonzero().flatten().tolist()
        unused = [index for index in candidates if targets.groups[index] not in by_group]
        if unused and len(by_group) < number:
            by_group[targets.groups[unused[0]]] = unused[0]
    # A detector that is never right still has examples: its errors.
    indices = list(by_group.values()) or list(range(min(number, len(targets.labels))))
    images, labels = targets.images[indices], targets.labels[indices]
    eps = eps_levels * LEVEL
    device = device_of(detector)
    batches = zip(images.to(device).split(batch_size), labels.to(device).split(batch_size), strict=True)
    found = torch.cat([attack(detector, *batch, eps) for batch in batches]).cpu()
    adversarial = to_8bit(attack.norm, eps, images, found)
    examples: dict[str, Any] = {"clean": images, "adversarial": adversarial, "labels": labels}
    for kind in ("clean", "adversarial"):
        examples[f"predicted_{kind}"] = predict(detector, examples[kind], batch_size).argmax(dim=1)
    answers = examples["predicted_clean"].tolist()
    maps = [map_of(detector, image, answer).strength for image, answer in zip(images, answers, strict=True)]
    examples["where"] = torch.from_numpy(np.stack(maps))
    return examples
