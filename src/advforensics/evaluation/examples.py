"""Examples for the eye: a few pictures before and after an attack."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.threat_model import LEVEL, to_8bit
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.detector import Detector
from advforensics.detectors.logits import predict
from advforensics.evaluation.images import EvaluationSet


@dataclass(frozen=True)
class Examples:
    """Pictures before and after an attack, in whole levels, with what the detector sees and answers.

    Attributes:
        clean: ``(N, C, H, W)`` in [0, 1].
        adversarial: Likewise.
        residual_clean: What the detector looks at in the clean pictures, ``(N, R, H', W')``, signed.
        residual_adversarial: Likewise, in the adversarial ones.
        labels: True classes, ``(N,)``.
        predicted_clean: Predicted classes of the clean pictures, ``(N,)``.
        predicted_adversarial: Predicted classes of the adversarial pictures, ``(N,)``.
    """

    clean: Tensor
    adversarial: Tensor
    residual_clean: Tensor
    residual_adversarial: Tensor
    labels: Tensor
    predicted_clean: Tensor
    predicted_adversarial: Tensor


def make_examples(
    trained: TrainedDetector,
    targets: EvaluationSet,
    attack: TorchAttack,
    number: int,
    eps_levels: float,
    batch_size: int,
) -> Examples:
    """Attack a few pictures of different classes and photographs.

    Args:
        trained: The detector.
        targets: Pictures to choose from.
        attack: Which is tried on them.
        number: Pictures at most.
        eps_levels: The radius in levels.
        batch_size: Pictures that the detector gets at once.
    """
    detector = trained.detector
    right = predict(detector, targets.images, batch_size).argmax(dim=1) == targets.labels
    shown: dict[str, int] = {}  # one of each class, each from a photograph of its own
    for label in range(len(trained.classes)):
        candidates = (right & (targets.labels == label)).nonzero().flatten().tolist()
        fresh = [index for index in candidates if targets.groups[index] not in shown]
        if fresh and len(shown) < number:
            shown[targets.groups[fresh[0]]] = fresh[0]
    # A detector that is never right still has examples: of its errors.
    chosen = list(shown.values()) or list(range(min(number, len(targets.labels))))
    images, labels = targets.images[chosen], targets.labels[chosen]
    eps = eps_levels * LEVEL
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    found = torch.cat([attack(detector, *batch, eps) for batch in batches])
    adversarial = to_8bit(attack.norm, eps, images, found)
    answer, answer_adversarial = (predict(detector, seen, batch_size).argmax(dim=1) for seen in (images, adversarial))
    with torch.no_grad():
        return Examples(
            clean=images,
            adversarial=adversarial,
            residual_clean=_residual(detector, images),
            residual_adversarial=_residual(detector, adversarial),
            labels=labels,
            predicted_clean=answer,
            predicted_adversarial=answer_adversarial,
        )


def _residual(detector: nn.Module, images: Tensor) -> Tensor:
    """Return what our detectors look at; for others, by how much pixels differ from the mean around them."""
    if isinstance(detector, Detector):
        return detector.residual(images)
    return images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
