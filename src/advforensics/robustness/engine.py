"""The sweep engine: attacks times radii against one detector, a row for each image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from advforensics.attacks.gateway import Attack, margins
from advforensics.attacks.threat import LEVEL, distances, to_8bit

DOMAINS = ("float", "8bit")


@dataclass(frozen=True)
class Targets:
    """The images a sweep attacks.

    Attributes:
        images: ``(N, C, H, W)``, float in [0, 1], whole levels.
        labels: ``(N,)``.
        sample_ids: Patch ids, length N.
        groups: Content hashes of the photographs they were cut from, length N.
    """

    images: Tensor
    labels: Tensor
    sample_ids: Sequence[str]
    groups: Sequence[str]


@dataclass
class _Domain:
    """How far the attack has come in one domain: every image's latest picture, and which are still classified right."""

    pictures: Tensor
    logits: Tensor
    standing: Tensor

    def take(self, chosen: Tensor, pictures: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.pictures[chosen] = pictures
        self.logits[chosen] = logits
        self.standing[chosen] = logits.argmax(dim=1) == labels[chosen]


class Engine:
    """Attacks a detector over a grid of radii.

    Radii are tried in ascending order, and only on images that still stand: an image that has fallen keeps the
    perturbation that felled it, which lies in every larger ball too. So curves never rise, and late points are cheap.
    A perturbation is judged as made (``float``) and again as whole levels inside the ball (``8bit``), each domain with
    its own account of what still stands.

    Args:
        detector: The network under attack.
        targets: What to attack.
        eps_levels: Radii in levels. 0, the clean pictures, is always in the table.
        batch_size: Images attacked at once.
        seed: Seeds every attack, apart for each radius and batch, so that no result depends on what ran before.

    Raises:
        ValueError: If a radius is negative.
    """

    def __init__(
        self, detector: nn.Module, targets: Targets, *, eps_levels: Sequence[float], batch_size: int, seed: int
    ) -> None:
        if min(eps_levels, default=0) < 0:
            raise ValueError(f"eps_levels must not be negative, got {list(eps_levels)}")
        self.detector = detector.eval()
        self.targets = targets
        self.eps_levels = sorted({0.0, *map(float, eps_levels)})
        self.batch_size = batch_size
        self.seed = seed
        with torch.no_grad():
            self.clean_logits = torch.cat([detector(batch) for batch in targets.images.split(batch_size)])

    def run(self, attack: Attack) -> pd.DataFrame:
        """Return the rows of one attack: image x radius x domain, without the run facts."""
        images, labels = self.targets.images, self.targets.labels
        standing = self.clean_logits.argmax(dim=1) == labels
        domains = {name: _Domain(images.clone(), self.clean_logits.clone(), standing.clone()) for name in DOMAINS}
        tables = [self._rows(attack, 0.0, name, domain) for name, domain in domains.items()]
        for eps_levels in tqdm(self.eps_levels[1:], desc=attack.name, unit="ε", disable=None):
            eps = eps_levels * LEVEL
            # Below one level of L∞ the picture itself is the only 8-bit picture in the ball.
            deliverable = attack.norm != "linf" or eps_levels >= 1
            wanted = domains["float"].standing | (domains["8bit"].standing & deliverable)
            for number, chosen in enumerate(_batches(wanted, self.batch_size)):
                seed = np.random.SeedSequence([self.seed, round(eps_levels * 1e6), number]).generate_state(1)[0]
                torch.manual_seed(int(seed))
                found = attack(self.detector, images[chosen], labels[chosen], eps)
                self._judge(domains["float"], chosen, found)
                if deliverable:
                    self._judge(domains["8bit"], chosen, to_8bit(attack.norm, eps, images[chosen], found))
            tables += [self._rows(attack, eps_levels, name, domain) for name, domain in domains.items()]
        return pd.concat(tables, ignore_index=True)

    def _judge(self, domain: _Domain, chosen: Tensor, pictures: Tensor) -> None:
        """Let a domain take the pictures found for its images that still stand."""
        still = domain.standing[chosen]
        if not still.any():
            return
        with torch.no_grad():
            logits = self.detector(pictures[still])
        domain.take(chosen[still], pictures[still], logits, self.targets.labels)

    def _rows(self, attack: Attack, eps_levels: float, name: str, domain: _Domain) -> pd.DataFrame:
        linf, l2 = distances(self.targets.images, domain.pictures)
        return pd.DataFrame(
            {
                "sample_id": self.targets.sample_ids,
                "group": self.targets.groups,
                "label": self.targets.labels.numpy(),
                "attack": attack.name,
                "norm": attack.norm,
                "eps_levels": eps_levels,
                "domain": name,
                "predicted": domain.logits.argmax(dim=1).numpy(),
                "correct": domain.standing.numpy(),
                "margin": margins(domain.logits, self.targets.labels).numpy(),
                "score": 1 - F.softmax(domain.logits, dim=1)[:, 0].numpy(),
                "linf_levels": (linf / LEVEL).numpy(),
                "l2": l2.numpy(),
            }
        )


def _batches(wanted: Tensor, batch_size: int) -> Sequence[Tensor]:
    """Return the indices that a mask ``(N,)`` picks, in batches; none when it picks none."""
    chosen = wanted.nonzero().squeeze(1)
    return chosen.split(batch_size) if len(chosen) else ()
