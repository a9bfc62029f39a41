"""What does a whole curve cost? ``make benchmark-sweep`` runs this and writes results.csv, growth.csv and figures here.

Each tool is given the same detector, images, radii and number of steps on the same machine, one after the other, round
after round. What it made is judged afterwards, by one judge for all, outside of the time. Every measurement is kept in
``--work``; killed, the benchmark goes on with the measurement it was at.
"""

import argparse
import logging
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.detectors.cost import counted
from advforensics.evaluation.images import EvaluationSet, select_images
from advforensics.store.reading import PatchStore
from experiments.benchmark_sweep.competitors import Tool, art_pgd, foolbox_pgd, stands, torchattacks_pgd
from experiments.benchmark_sweep.drawing import draw_curves, draw_growth
from experiments.benchmark_sweep.ours import ours

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
DETECTORS = ("baseline", "adversarial_fusion")
OURS = "advforensics"
TOOLS: dict[str, Tool] = {
    OURS: ours,
    "torchattacks": torchattacks_pgd,
    "foolbox": foolbox_pgd,
    "ART": art_pgd,
}


@dataclass(frozen=True)
class Setting:
    """One measurement: a tool, a detector, how many images, radii and steps, and which round."""

    tool: str
    detector: str
    images: int = 512
    points: int = 8
    steps: int = 40
    round: int = 0

    def eps_levels(self) -> list[float]:
        """Return the radii, in levels: from 1/8 to 16, each the same factor above the one before."""
        exponents = torch.linspace(-3, 4, self.points, dtype=torch.float64)
        return [float(eps_levels) for eps_levels in 2**exponents]


class Bench:
    """The detectors, their images, and what has been measured so far.

    Args:
        store: Folder of the patch store.
        runs: Folder with ``DEFENSE-1/checkpoint.pt`` of the detectors.
        work: Folder of what has been measured.
        most: How many images are needed.

    Raises:
        FileNotFoundError: If there is no store or checkpoint.
        ValueError: If the store's test split has too few images.
    """

    def __init__(self, store: Path, runs: Path, work: Path, most: int) -> None:
        self.trained: dict[str, TrainedDetector] = {}
        self.targets: dict[str, EvaluationSet] = {}
        for detector in DETECTORS:
            checkpoint = runs / f"{detector}-1" / "checkpoint.pt"
            if not checkpoint.is_file() or not store.is_dir():
                raise FileNotFoundError(
                    f"no checkpoint {checkpoint} or no patches {store}: `make run PHOTOS=/path/to/photos` makes both,"
                    " in out/<folder name>; or give --store and --runs of what you have"
                )
            self.trained[detector] = load_checkpoint(checkpoint)
            # foolbox and ART would work out gradients of the weights too: this makes them a tenth to a fifth faster.
            self.trained[detector].detector.requires_grad_(False)
            self.targets[detector] = select_images(PatchStore(store), self.trained[detector], "test", most)[:]
            if len(self.targets[detector].labels) < most:
                raise ValueError(f"{store} has {len(self.targets[detector].labels)} test images, {most} are needed")
        self.path = work / "measured.csv"
        self.threads = torch.get_num_threads()

    def measure(self, settings: Iterable[Setting]) -> pd.DataFrame:
        """Return a row for each radius of each setting; what has not been measured before is measured now."""
        rows = []
        for setting in settings:
            known = pd.read_csv(self.path) if self.path.is_file() else pd.DataFrame()
            found = self._rows(known, setting)
            if found.empty:
                found = pd.DataFrame(self._curve(setting))
                self.path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = self.path.with_suffix(".unfinished")
                pd.concat([known, found]).to_csv(unfinished, index=False)
                unfinished.replace(self.path)
            rows.append(found)
        return pd.concat(rows, ignore_index=True)

    def _key(self, setting: Setting) -> dict[str, object]:
        return {
            **asdict(setting),
            "checkpoint": self.trained[setting.detector].sha256[:12],
            "threads": self.threads,
        }

    def _rows(self, known: pd.DataFrame, setting: Setting) -> pd.DataFrame:
        for column, value in self._key(setting).items():
            known = known[known[column] == value] if len(known) else known
        return known

    def _curve(self, setting: Setting) -> list[dict[str, object]]:
        """Measure a setting."""
        detector, targets = self.trained[setting.detector].detector, self.targets[setting.detector]
        images, labels = targets.images[: setting.images], targets.labels[: setting.images]
        eps_levels = setting.eps_levels()
        torch.manual_seed(setting.round)
        TOOLS[setting.tool](detector, images[:8], labels[:8], [LEVEL], 2)  # what only a first call costs
        with counted(detector) as cost:
            pictures = TOOLS[setting.tool](detector, images, labels, [eps * LEVEL for eps in eps_levels], setting.steps)
        log.info("%s: %.1f s", setting, cost.seconds)
        return [
            {
                **self._key(setting),
                "eps_levels": eps,
                "robust_accuracy": self._standing(setting.detector, images, labels, made, eps),
                "seconds": cost.seconds,
                "forward": cost.forward,
                "backward": cost.backward,
            }
            for eps, made in zip(eps_levels, pictures, strict=True)
        ]

    def _standing(self, detector: str, images: Tensor, labels: Tensor, pictures: Tensor, eps_levels: float) -> float:
        standing = stands(self.trained[detector].detector, images, labels, pictures, eps_levels * LEVEL)
        return float(standing.float().mean())


def main(arguments: list[str]) -> None:
    """Measure, and write the tables and figures."""
    parser = argparse.ArgumentParser(description="What does a whole curve of robust accuracy cost?")
    parser.add_argument("--store", type=Path, default=Path("out/photos/patches"), help="the patch store")
    parser.add_argument("--runs", type=Path, default=Path("out/photos/runs"), help="folder of the trained detectors")
    parser.add_argument("--work", type=Path, default=Path("out/benchmark_sweep"), help="where measurements are kept")
    parser.add_argument("--folder", type=Path, default=HERE, help="where tables and figures go")
    parser.add_argument("--images", type=int, default=512, help="of the curves; growth: a quarter to twice as many")
    parser.add_argument("--steps", type=int, default=40, help="of all attacks; growth: a quarter to twice as many")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is told")
    parser.add_argument("--threads", type=int, default=1, help="of every tool")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("art").setLevel(logging.WARNING)
    torch.set_num_threads(chosen.threads)
    bench = Bench(chosen.store, chosen.runs, chosen.work, 2 * chosen.images)

    whole = [
        Setting(tool, detector, chosen.images, steps=chosen.steps, round=number)
        for number in range(chosen.rounds)
        for detector in DETECTORS
        for tool in _rotated(number)
    ]
    curves = summary(bench.measure(whole))
    chosen.folder.mkdir(parents=True, exist_ok=True)
    curves.to_csv(chosen.folder / "results.csv", index=False)
    draw_curves(curves, chosen.folder)
    others = curves[(curves["tool"] != OURS) & (curves["detector"] == DETECTORS[0])]
    best = str(others.sort_values("seconds")["tool"].iloc[0])

    variations = [
        *({"images": chosen.images * factor // 4} for factor in (1, 2, 4, 8)),
        *({"points": points} for points in (2, 4, 8, 16)),
        *({"steps": chosen.steps * factor // 4} for factor in (1, 2, 4, 8)),
    ]
    usual = {"images": chosen.images, "points": 8, "steps": chosen.steps}
    growing = [Setting(tool, DETECTORS[0], **usual | varied) for varied in variations for tool in (OURS, best)]
    growth = bench.measure(dict.fromkeys(growing))
    growth = growth.drop(columns=["eps_levels", "robust_accuracy"]).drop_duplicates(ignore_index=True)
    growth = growth.assign(passes=growth["forward"] + growth["backward"]).round({"seconds": 2})
    growth.to_csv(chosen.folder / "growth.csv", index=False)
    draw_growth(growth, usual, chosen.folder)

    say(curves)


def say(curves: pd.DataFrame) -> None:
    """Log what the curves come to: how much faster the engine is, and where another tool left fewer images standing."""
    for detector, rows in curves.groupby("detector", sort=False):
        seconds = rows.groupby("tool")["seconds"].first()
        rivals = seconds.drop(OURS)
        log.info(
            "%s: %.1f s, %s %.1f s: %.1f times faster",
            *(detector, seconds[OURS], rivals.idxmin(), rivals.min(), rivals.min() / seconds[OURS]),
        )
        left = rows.pivot_table(index="eps_levels", columns="tool", values="robust_accuracy")
        behind = left[left[OURS] > left.min(axis=1)]
        if len(behind):
            log.warning("%s: another tool is stronger here:\n%s", detector, behind)


def summary(measured: pd.DataFrame) -> pd.DataFrame:
    """Return for each tool, detector and radius the medians over rounds; seconds and passes are the whole curve's."""
    measured = measured.assign(passes=measured["forward"] + measured["backward"])
    keys = ["tool", "detector", "eps_levels"]
    values = ["robust_accuracy", "seconds", "passes", "images"]
    medians = measured.groupby(keys, sort=False)[values].median().round(4).reset_index()
    return medians.astype({"passes": int, "images": int})


def _rotated(number: int) -> list[str]:
    """Return the tools, each round beginning with another, so that none always follows the same one."""
    names = list(TOOLS)
    start = number % len(names)
    return names[start:] + names[:start]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
