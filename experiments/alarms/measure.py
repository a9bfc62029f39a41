"""Do the alarms catch broken detectors, and leave honest ones alone? Writes results.csv beside itself."""

import argparse
import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torchattacks
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm
from advforensics.alarms.probes import FATAL, probe
from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import Float
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.losses import margin
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.settings import SweepSettings
from advforensics.store.reading import PatchDataset, PatchStore

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "tests" / "alarms"))  # the detectors are those of the tests
from broken import BROKEN, HONEST, Make, pictures  # noqa: E402

IMAGES = 128
SQUARE = TorchAttack("square", partial(torchattacks.Square, norm="Linf", n_queries=100), "linf", knowledge="black box")
Row = dict[str, object]


def swept(detector: nn.Module, images: Tensor, labels: Tensor, groups: list[str]) -> pd.DataFrame:
    """Return the sample table of a small sweep: APGD on the margin, then Square, at 1 and 4 levels."""
    targets = EvaluationSet(images, labels, [f"s{number}" for number in range(len(images))], groups)
    settings = SweepSettings(detector, targets, eps_levels=[1, 4], batch_size=32, seed=0)
    rows = run_cascade(settings, [Ascent("apgd", "linf", margin, 20), SQUARE], Float()).rows
    return rows.assign(defense="probed", seed=0)


def judge(
    kind: str, name: str, seed: int, fitting: frozenset[str], case: tuple[nn.Module, Tensor, Tensor, list[str]]
) -> Row:
    """Return what fired on a detector."""
    detector, images, labels, groups = case
    alarms: list[Alarm] = probe(detector, images, labels, seed=seed)
    if not any(alarm.fired for alarm in alarms if alarm.name in FATAL):
        alarms += sample_table_alarms(swept(detector, images, labels, groups))
    fired = {alarm.name: alarm.evidence for alarm in alarms if alarm.fired}
    passed = bool(fitting & fired.keys()) if kind == "broken" else not fired
    row = {"kind": kind, "detector": name, "seed": seed, "passed": passed, "alarms": " ".join(fired)}
    return {**row, "evidence": " | ".join(f"{alarm}: {evidence}" for alarm, evidence in fired.items())}


def toy(kind: str, name: str, seed: int) -> Row:
    """Make a detector on toy pictures and judge it."""
    torch.set_num_threads(1)
    make: Make
    fitting: frozenset[str] = frozenset()
    if kind == "broken":
        classes = 2 if name == "fgsm_overfitted" else 2 + seed % 2  # what overfits with two classes may not with three
        make, fitting = BROKEN[name].make, BROKEN[name].alarms
    else:
        classes, make = HONEST[name]
    images, labels = pictures(384, classes, seed)
    tested, truth = pictures(IMAGES, classes, 100 + seed)
    groups = [f"g{number}" for number in range(IMAGES)]
    return judge(kind, name, seed, fitting, (make(images, labels, seed), tested, truth, groups))


def real(checkpoint: Path) -> Row:
    """Judge a trained detector on test patches of the store beside its runs."""
    torch.set_num_threads(1)
    trained = load_checkpoint(checkpoint)
    patches = PatchDataset(PatchStore(checkpoint.parents[2] / "patches"), "test")
    chosen = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:IMAGES].tolist()
    images, labels = patches[chosen]
    groups = patches.manifest["group"].iloc[chosen].tolist()
    name = f"{trained.task} {checkpoint.parent.name} ({len(trained.classes)} classes)"
    return judge("real", name, trained.seed, frozenset(), (trained.detector, images, labels, groups))


def main() -> None:
    """Judge every detector and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each broken detector")
    parser.add_argument("--honest-seeds", type=int, default=2, help="of each honest detector")
    parser.add_argument(
        "--real", type=Path, nargs="*", default=[], help="folders with patches/ and runs/*/checkpoint.pt"
    )
    given = parser.parse_args()
    checkpoints = [path for folder in given.real for path in sorted(folder.glob("runs/*/checkpoint.pt"))]
    toys = [("broken", name, seed) for seed in range(given.seeds) for name in BROKEN]
    toys += [("honest", name, seed) for seed in range(given.honest_seeds) for name in HONEST]
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(real, path) for path in checkpoints] + [pool.submit(toy, *case) for case in toys]
        with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ["kind", "detector", "seed", "passed", "alarms", "evidence"])
            writer.writeheader()
            for job in jobs:
                writer.writerow(job.result())
                stream.flush()
    results = pd.read_csv(HERE / "results.csv")
    print(results.groupby("kind")["passed"].agg(["sum", "count"]))
    print(results.loc[~results["passed"], ["kind", "detector", "seed", "alarms"]].to_string())


if __name__ == "__main__":
    main()
