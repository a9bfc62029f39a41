"""Is AutoAttack stronger? ``python -m experiments.never_weaker.autoattack FOLDER STORE:CHECKPOINT:SAMPLES ...``.

SAMPLES is the ``samples.parquet`` of the checkpoint's sweep. AutoAttack (Croce & Hein 2020, arXiv 2003.01690) is the
authors' code as PyPI's ``pyautoattack`` ships it, version "standard". It gets each norm and radius of the sweep
(float), and of the images there only those that stand after the sweep's last attack.

Keeps in FOLDER what became of them: ``TASK-DEFENSE-SEED-CHECKPOINT/NORM-LEVELS-ATTACK-PART.npz``. Killed, it goes on
with the part it was at. At the end it writes ``autoattack.csv`` here; the exit status is 1 if any image was turned.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pyautoattack import AutoAttack
from torch import Tensor

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import LEVEL, Norm, project, radius
from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.evaluation.images import EvaluationSet, select_images
from advforensics.statistics.sample_table import read_samples
from advforensics.store.reading import PatchStore

log = logging.getLogger(__name__)

ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")  # of version "standard", in its order
PART = 32  # images at a time
NAMES: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}


class Victim:
    """A detector, its images, and what its sweep has left standing."""

    def __init__(self, folder: Path, store: str, checkpoint: str, samples: str) -> None:
        self.trained: TrainedDetector = load_checkpoint(checkpoint)
        table = read_samples(Path(samples))
        if set(table["checkpoint"]) != {self.trained.sha256}:
            raise ValueError(f"{samples} is the sweep of another checkpoint than {checkpoint}")
        self.facts = self.trained.provenance()
        wanted = (table["domain"] == "float") & (table["knowledge"] != "postprocessing") & (table["eps_levels"] > 0)
        rows = table[wanted]
        self.images: EvaluationSet = select_images(
            PatchStore(store), self.trained, "test", rows["sample_id"].nunique()
        )[:]
        self.standing = rows.groupby(["norm", "eps_levels", "sample_id"])["correct"].all()
        facts = self.facts
        self.folder = folder / f"{facts['task']}-{facts['defense']}-{facts['seed']}-{self.trained.sha256[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def points(self) -> list[tuple[Norm, float]]:
        """Return the sweep's norms and radii, in levels; small radii first."""
        found = self.standing.index.droplevel("sample_id").unique()
        return sorted(found, key=lambda point: (point[1], point[0]))

    def left(self, norm: Norm, eps_levels: float) -> Tensor:
        """Return the indices of the images that the sweep has left standing."""
        standing = self.standing.loc[norm, eps_levels].loc[self.images.sample_ids].to_numpy(bool)
        return torch.tensor(standing).nonzero().flatten()

    def attack(self, name: str, norm: Norm, eps_levels: float, chosen: Tensor, part: int) -> Tensor:
        """Run one of the attacks on a part of the images that stand; return the margins it has reached, ``(n,)``.

        A picture is cut to the sweep's ball before it is judged: nobody wins by a rounding error outside of it.
        """
        path = self.folder / f"{norm}-{eps_levels:g}-{name}-{part}.npz"
        names = [self.images.sample_ids[index] for index in chosen.tolist()]
        if path.is_file():
            with np.load(path) as kept:
                if kept["sample_ids"].tolist() == names:
                    return torch.from_numpy(kept["margins"])
        images, labels, detector = self.images.images[chosen], self.images.labels[chosen], self.trained.detector
        eps = eps_levels * LEVEL
        with attackable(detector):
            tool = AutoAttack(detector, norm=NAMES[norm], eps=radius(norm, eps, images), version="standard", seed=part)
            tool.apgd_targeted.n_target_classes = tool.fab.n_target_classes = min(9, len(self.trained.classes) - 1)
            tool.attacks_to_run = [name]
            pictures, _ = tool.run_standard_evaluation(images, labels, batch_size=PART)
            with torch.no_grad():
                reached = margins(detector(project(norm, eps, images, pictures)), labels)
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, margins=reached.numpy(), sample_ids=np.array(names))
        unfinished.replace(path)
        return reached

    def results(self) -> list[dict[str, object]]:
        """Return a row for each point: how many images the sweep has left, and how many of them each attack turned."""
        rows = []
        for norm, eps_levels in self.points():
            left, turned = self.left(norm, eps_levels), dict.fromkeys(ATTACKS, 0)
            for part, chosen in enumerate(left.split(PART)):
                for name in ATTACKS:
                    if len(chosen):
                        stands = self.attack(name, norm, eps_levels, chosen, part) > 0
                        turned[name] += int((~stands).sum())
                        chosen = chosen[stands]
            facts = {fact: self.facts[fact] for fact in ("task", "defense", "seed")}
            point = {"norm": norm, "eps_levels": eps_levels, "images": len(self.images.labels)}
            rows.append({**facts, **point, "sweep_left": len(left), **turned, "turned": sum(turned.values())})
            log.info("%s", rows[-1])
        return rows


def main(folder: str, *runs: str) -> None:
    """Attack what each sweep has left, write the table, and leave with status 1 if anything was turned."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("auto-attack").setLevel(logging.WARNING)
    victims = [Victim(Path(folder), *run.split(":")) for run in runs]
    results = pd.DataFrame([row for victim in victims for row in victim.results()])
    results.to_csv(Path(__file__).parent / "autoattack.csv", index=False)
    print(results.to_string(index=False))
    if turned := int(results["turned"].sum()):
        sys.exit(f"AutoAttack turned {turned} of {results['sweep_left'].sum()} images that the sweep left standing")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
