"""Trains and sweeps detectors that are to be compared, seed after seed, and writes the tables and figures of a report.

Every detector is trained by ``advforensics train`` and attacked by ``advforensics sweep``, in as many processes at a
time as are asked for, one thread each. Killed, it goes on with what was not finished.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

PRECISE = 4  # digits of what is written


def compare(folder: Path, detectors: Mapping[str, Sequence[str]], sweep: Sequence[str], about: str) -> None:
    """Run the command line of an experiment.

    Args:
        folder: The experiment's own, where tables and figures go.
        detectors: By name, what `advforensics train` is told besides the store and the seed.
        sweep: What `advforensics sweep` is told.
        about: The experiment's question.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("store", type=Path, help="of patches, as `advforensics prepare` writes it")
    parser.add_argument("--work", type=Path, default=Path("out") / folder.name, help="where detectors and sweeps go")
    parser.add_argument("--only", nargs="+", choices=list(detectors), default=list(detectors), help="detectors")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    chosen = parser.parse_args()
    jobs = [(name, seed) for seed in chosen.seeds for name in chosen.only]
    with ThreadPoolExecutor(chosen.jobs) as pool, tqdm(total=len(jobs), smoothing=0) as bar:
        for _ in pool.map(lambda job: _judge(*job, detectors[job[0]], sweep, chosen.store, chosen.work), jobs):
            bar.update()
    _report(chosen.work, folder)


def train(folder: Path, store: Path, *overrides: str) -> None:
    """Train one detector into the folder, unless it is there.

    Raises:
        SystemExit: If that fails.
    """
    if not (folder / "training.csv").exists():
        _call("train", folder, store, f"folder={folder}", *overrides)


def _judge(name: str, seed: int, overrides: Sequence[str], sweep: Sequence[str], store: Path, work: Path) -> None:
    """Train and sweep one detector, as far as that has not been done."""
    folder = work / f"{name}-{seed}"
    train(folder, store, f"seed={seed}", *overrides, f"defense.name={name}")
    if not (folder / "sweep" / "samples.parquet").exists():
        _call("sweep", folder, store, f"checkpoint={folder}/checkpoint.pt", *sweep)


def _call(command: str, folder: Path, store: Path, *overrides: str) -> None:
    """Run an entry point; what it says goes into a file beside its results.

    Raises:
        SystemExit: If it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"store={store}", f"tracking.uri=sqlite:///{folder.parent}/mlflow.db", f"hydra.run.dir={folder}/hydra"]
    said = folder / f"{command}.log"
    with said.open("w") as file:
        done = subprocess.run(
            ["advforensics", command, *places, *overrides],
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    if done.returncode:
        sys.exit(f"error: {command} of {folder.name} failed, see {said}")


def _report(work: Path, folder: Path) -> None:
    """Write the report on all that is there, and copy what the experiment keeps of it."""
    subprocess.run(["advforensics", "report", f"runs={work}", f"hydra.run.dir={work}/report/hydra"], check=True)
    curves = pd.read_csv(work / "report" / "curves.csv")
    curves[curves["attack"] == "worst"].round(PRECISE).to_csv(folder / "results.csv", index=False)
    pd.read_csv(work / "report" / "comparisons.csv").round(PRECISE).to_csv(folder / "comparisons.csv", index=False)
    for figure in ("tradeoff", "robustness-linf-float"):
        shutil.copy(work / "report" / "figures" / f"{figure}.png", folder)
    ends = []
    for path in sorted(work.glob("*-[0-9]*/metrics.json")):
        name, seed = path.parent.name.rsplit("-", 1)
        ends.append({"defense": name, "seed": int(seed), **json.loads(path.read_text())})
    pd.DataFrame(ends).round(PRECISE).to_csv(folder / "trainings.csv", index=False)
