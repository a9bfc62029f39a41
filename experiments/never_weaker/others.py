"""Attack trained detectors with other tools: ``python -m experiments.never_weaker.others FOLDER STORE:CHECKPOINT ...``.

Keeps in FOLDER, for each detector, tool and radius, which images still stand: ``TASK-DEFENSE-SEED/TOOL-LEVELS.npz``.
Killed, it goes on with the radius it was at. First every tool makes its first run everywhere, then the runs from
further random starts come.

Every tool gets more than its users would: an image that one run has turned counts as turned at every larger radius
too, whose ball holds that picture, and is not attacked again. Images do not affect each other in these attacks, so what
is left out could only have left an image standing.
"""

import logging
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.evaluation.images import select_images
from advforensics.store.reading import PatchStore
from experiments.benchmark_sweep.competitors import (
    Tool,
    art_apgd,
    foolbox_pgd,
    right,
    stands,
    torchattacks_pgd,
)

log = logging.getLogger(__name__)

IMAGES, STEPS = 512, 100
EPS_LEVELS = (0.25, 0.5, 1.0, 2.0)
DLR = "ART APGD, DLR"  # needs three classes
TOOLS: dict[str, tuple[Tool, int]] = {  # with how many random starts
    "torchattacks PGD": (torchattacks_pgd, 5),
    "foolbox LinfPGD": (foolbox_pgd, 1),
    "ART APGD": (art_apgd, 1),
    DLR: (partial(art_apgd, loss_type="difference_logits_ratio"), 1),
}


class Victim:
    """A detector, its images, and what every tool has left standing."""

    def __init__(self, folder: Path, store: str, checkpoint: str) -> None:
        self.trained: TrainedDetector = load_checkpoint(checkpoint)
        self.targets = select_images(PatchStore(store), self.trained, "test", IMAGES)[:]
        self.facts = self.trained.provenance()
        self.folder = folder / f"{self.facts['task']}-{self.facts['defense']}-{self.facts['seed']}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def attack(self, name: str, tool: Tool, start: int) -> None:
        """Run a tool once, from its random start number ``start``, at each radius on what it has left standing."""
        detector, images, labels = self.trained.detector, self.targets.images, self.targets.labels
        standing = right(detector, images, labels)
        for eps_levels in EPS_LEVELS:
            path = self.folder / f"{name.replace(' ', '_').replace(',', '')}-{eps_levels:g}.npz"
            known = dict(np.load(path)) if path.is_file() else {"standing": standing.numpy(), "starts": np.array(0)}
            if str(known.get("checkpoint", self.trained.sha256)) != self.trained.sha256:
                raise ValueError(f"{path} belongs to another checkpoint: remove {self.folder} to attack this one")
            standing = standing & torch.from_numpy(known["standing"])
            if known["starts"] > start:
                continue
            torch.manual_seed(1000 * start + round(eps_levels * 8))
            chosen = standing.nonzero().flatten()
            if len(chosen):
                standing[chosen] = self._left(tool, images[chosen], labels[chosen], eps_levels * LEVEL)
            self._keep(path, name, eps_levels, standing, start + 1)

    def _left(self, tool: Tool, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        (pictures,) = tool(self.trained.detector, images, labels, [eps], STEPS)
        return stands(self.trained.detector, images, labels, pictures, eps)

    def _keep(self, path: Path, name: str, eps_levels: float, standing: Tensor, starts: int) -> None:
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(
            unfinished,
            standing=standing.numpy(),
            starts=starts,
            tool=name,
            eps_levels=eps_levels,
            sample_ids=np.array(self.targets.sample_ids),
            checkpoint=self.trained.sha256,
            task=self.facts["task"],
            defense=self.facts["defense"],
            seed=self.facts["seed"],
        )
        unfinished.replace(path)
        log.info("%s: %s, start %d, %g: %d stand", self.folder.name, name, starts, eps_levels, int(standing.sum()))


def main(folder: str, *detectors: str) -> None:
    """Attack every detector, each given as ``STORE:CHECKPOINT``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("art").setLevel(logging.WARNING)
    victims = [Victim(Path(folder), *detector.split(":")) for detector in detectors]
    for start in range(max(starts for _, starts in TOOLS.values())):
        for name, (tool, starts) in TOOLS.items():
            for victim in victims:
                if start < starts and (len(victim.trained.classes) > 2 or name != DLR):
                    victim.attack(name, tool, start)


if __name__ == "__main__":
    main(*sys.argv[1:])
