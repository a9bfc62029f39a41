"""A sweep in parts of its images: each is attacked alone, and is one file once it is complete.

What a part gives depends on its images and its seed, never on what ran before or where. So a killed sweep goes on with
the part it was at, and devices and jobs share a sweep by its parts. Only one at a time is in memory.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.attacks.threat_model import Norm
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.cost import Cost, counted
from advforensics.evaluation.batches import choose_batch_size
from advforensics.evaluation.ensemble import run_ensemble
from advforensics.evaluation.images import EvaluationSet, ImageParts
from advforensics.evaluation.postprocessing import sample_rows
from advforensics.evaluation.recompression import recompressed
from advforensics.evaluation.settings import Gradients, SweepSettings
from advforensics.persistence.atomic import atomic
from advforensics.persistence.journal import Journal
from advforensics.statistics.sample_table import write_samples

TEXTS = {"sample_id": str, "group": str}


@dataclass(frozen=True)
class Parts:
    """The parts of one sweep, and where they are kept.

    Attributes:
        trained: The detector, where it is to run.
        images: The images.
        ensemble: What ``conf/ensemble/`` describes.
        eps_levels: Radii in levels.
        at_once: Images attacked at once, ``batch_size`` of the config.
        seed: Seed of the first part; each has the next.
        gradients: Whose gradients attacks climb; see :class:`~advforensics.evaluation.settings.SweepSettings`.
        most: Images in a part, at most.
        null_first: Whether the first class means an unaltered picture.
        folder: Where their files go, and until a part is complete the outcomes of its batches.
    """

    trained: TrainedDetector
    images: ImageParts
    ensemble: DictConfig
    eps_levels: Sequence[float]
    at_once: int | Literal["auto"]
    seed: int
    gradients: Gradients
    most: int
    null_first: bool
    folder: Path

    def __len__(self) -> int:
        return len(self.images)

    def batch_size(self, images: EvaluationSet) -> int:
        """Return how many images of such a shape are attacked at once, the same wherever the evaluation goes on."""
        detectors, shape = [self.trained.detector], images.images.shape[1:]
        return choose_batch_size(self.at_once, detectors, shape, self.most, Journal(self.folder))

    def samples(self) -> list[Path]:
        """Return the sample table of each part, which exists once it is complete."""
        return [self.folder / f"part-{number:05}.parquet" for number in range(len(self))]

    def costs(self) -> pd.DataFrame:
        """Return what all complete parts cost: rows of :class:`.cascade.CascadeResult` and of :func:`cost_row`."""
        complete = [path for path in self.samples() if path.is_file()]
        return pd.concat([pd.read_csv(_costs(path)) for path in complete], ignore_index=True)

    def recompressed(self) -> pd.DataFrame:
        """Return what is left of the forged pictures of all complete parts once they are saved as JPEG."""
        complete = [_recompressed(path) for path in self.samples() if path.is_file()]
        return pd.concat([pd.read_csv(path, dtype=TEXTS) for path in complete], ignore_index=True)

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not complete."""
        return [number for number, path in enumerate(self.samples()) if not path.is_file()]

    def run(self, number: int) -> None:
        """Attack the images of a part, going on with the batch that an earlier call was at, and write its files."""
        path, seed = self.samples()[number], self.seed + number
        if path.is_file():
            return
        unfinished, images = path.with_suffix(""), self.images[number]
        detector, batch_size = self.trained.detector, self.batch_size(images)
        journal, files_only = Journal(unfinished), self.trained.files_only
        settings = SweepSettings(
            detector, images, self.eps_levels, batch_size, seed, journal, self.gradients, files_only
        )
        results = list(run_ensemble(settings, self.ensemble))
        rows, costs = [result.rows for result in results], [result.costs for result in results]
        torch.manual_seed(seed)  # what follows must not depend on where the sweep was killed
        if self.ensemble.get("postprocessing"):
            postprocessing = instantiate(self.ensemble.postprocessing, batch_size=batch_size)
            with counted(detector) as cost:
                rows.append(sample_rows(postprocessing.run(detector, images), self.eps_levels))
            costs.append(cost_row(cost, postprocessing.name, postprocessing.norm, "8bit", 0.0))
        with counted(detector) as cost:
            saved_again = recompressed(settings, results)
        costs.append(cost_row(cost, "recompressed", "linf", "jpeg", 0.0))
        with atomic(_recompressed(path)) as temporary:
            saved_again.to_csv(temporary, index=False)
        with atomic(_costs(path)) as temporary:
            total_cost(costs).to_csv(temporary, index=False)
        facts, classes = self.trained.provenance(), self.trained.classes
        write_samples(path, pd.concat(rows, ignore_index=True), facts, classes, self.null_first)
        shutil.rmtree(unfinished, ignore_errors=True)


def total_cost(costs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return costs by norm, domain, attack and radius, in the order in which they first come."""
    points = ["norm", "domain", "attack", "eps_levels"]
    return pd.concat(costs, ignore_index=True).groupby(points, as_index=False, sort=False).sum()


def cost_row(cost: Cost, attack: str, norm: Norm, domain: str, eps_levels: float) -> pd.DataFrame:
    """Return a row of costs outside a cascade."""
    point = {"norm": norm, "domain": domain, "attack": attack, "eps_levels": float(eps_levels)}
    return pd.DataFrame([{**point, "attacked": 0, **vars(cost)}])


def _recompressed(samples: Path) -> Path:
    return samples.with_suffix(".recompressed.csv")


def _costs(samples: Path) -> Path:
    return samples.with_suffix(".csv")
