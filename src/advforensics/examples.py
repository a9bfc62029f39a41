"""Examples for the eye: a few pictures before and after an attack."""

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from omegaconf import DictConfig
from torch import Tensor, nn

from advforensics.attacks.gateway import Attack
from advforensics.attacks.threat import LEVEL, to_8bit
from advforensics.checkpoint import Trained
from advforensics.data import Targets
from advforensics.detectors.detector import Detector
from advforensics.figures.gallery import gallery
from advforensics.robustness.gradients import batched


def draw(trained: Trained, targets: Targets, attack: Attack, cfg: DictConfig, batch_size: int) -> Figure:
    """Draw pictures of different classes and photographs before and after an attack, as whole levels.

    Args:
        trained: The detector.
        targets: Pictures to choose from.
        attack: Which is tried on them.
        cfg: ``pictures``, how many at most, and ``eps_levels``, the radius in levels.
        batch_size: Pictures that the detector gets at once.
    """
    detector = trained.detector
    right = batched(detector, targets.images, batch_size).argmax(dim=1) == targets.labels
    shown: dict[str, int] = {}  # one of each class, each from a photograph of its own
    for label in range(len(trained.classes)):
        candidates = (right & (targets.labels == label)).nonzero().flatten().tolist()
        fresh = [index for index in candidates if targets.groups[index] not in shown]
        if fresh and len(shown) < cfg.pictures:
            shown[targets.groups[fresh[0]]] = fresh[0]
    # A detector that is never right still has examples: of its errors.
    chosen = list(shown.values()) or list(range(min(cfg.pictures, len(targets.labels))))
    images, labels = targets.images[chosen], targets.labels[chosen]
    eps = cfg.eps_levels * LEVEL
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    found = torch.cat([attack(detector, *batch, eps) for batch in batches])
    adversarial = to_8bit(attack.norm, eps, images, found)
    answer, answer_adversarial = (batched(detector, seen, batch_size).argmax(dim=1) for seen in (images, adversarial))
    with torch.no_grad():
        return gallery(
            images.numpy(),
            adversarial.numpy(),
            _residual(detector, images).numpy(),
            _residual(detector, adversarial).numpy(),
            labels.tolist(),
            answer.tolist(),
            answer_adversarial.tolist(),
            trained.classes,
            cfg.eps_levels,
        )


def _residual(detector: nn.Module, images: Tensor) -> Tensor:
    """Return what our detectors look at; for others, by how much pixels differ from the mean around them."""
    if isinstance(detector, Detector):
        return detector.residual(images)
    return images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
