"""Which defence, on photographs? Trains and sweeps them all, seed after seed; ``report`` writes tables and figures.

python -m experiments.defenses.run STORE            # trains and sweeps what is not there yet; hours
python -m experiments.defenses.run STORE --report   # tables and figures of what is there, into this folder

Every detector is trained by ``advforensics train`` and attacked by ``advforensics sweep``, one after another in so many
processes as are asked for, one thread each. Killed, it goes on with what was not finished.
"""

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

HERE = Path(__file__).parent
COMMON = ["detector=deep", "trainer.precision=bf16-mixed", "trainer.max_epochs=6"]
SWEEP = ["eps_levels=[0,0.25,0.5,1,2]", "images=256", "ensemble.norms=[linf]", "~ensemble.domains.eightbit"]
STRONG = ["defense.module.eps_levels=0.9", "defense.module.weight=0.6"]
DEFENSES = {  # a name here, and what `advforensics train` is told
    "baseline": ["defense=baseline"],
    "gradient_regularized": ["defense=gradient_regularized"],
    "adversarial_fusion": ["defense=adversarial_fusion"],
    "regularized_fusion": ["defense=regularized_fusion"],
    "strong_penalty": ["defense=gradient_regularized", "defense.module.norm=l1", "defense.module.weight=0.004"],
    "strong_fusion": ["defense=adversarial_fusion", *STRONG],
    "pgd_training": ["defense=pgd_training", "defense.module.eps_levels=1"],
}


def main(arguments: list[str]) -> None:
    """Train, sweep, report."""
    parser = argparse.ArgumentParser(description="Which defence, on photographs?")
    parser.add_argument("store", type=Path, help="of patches, as `advforensics prepare` writes it")
    parser.add_argument("--work", type=Path, default=Path("out/defenses"), help="where detectors and sweeps go")
    parser.add_argument("--defenses", nargs="+", choices=list(DEFENSES), default=list(DEFENSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--report", action="store_true", help="only tables and figures")
    chosen = parser.parse_args(arguments)
    if not chosen.report:
        jobs = [(defense, seed) for seed in chosen.seeds for defense in chosen.defenses]
        with ThreadPoolExecutor(chosen.jobs) as pool, tqdm(total=len(jobs), smoothing=0) as bar:
            for _ in pool.map(lambda job: judged(*job, chosen.store, chosen.work), jobs):
                bar.update()
    report(chosen.work)


def judged(defense: str, seed: int, store: Path, work: Path) -> None:
    """Train and sweep one detector, unless that has been done."""
    folder = work / f"{defense}-{seed}"
    if not (folder / "checkpoint.pt").exists():
        overrides = [*DEFENSES[defense], *COMMON, f"defense.name={defense}", f"seed={seed}", f"folder={folder}"]
        call("train", *overrides, store=store, folder=folder)
    if not (folder / "sweep" / "samples.parquet").exists():
        call("sweep", f"checkpoint={folder}/checkpoint.pt", *SWEEP, store=store, folder=folder)


def call(command: str, *overrides: str, store: Path, folder: Path) -> None:
    """Run an entry point; what it says goes into a file beside its results, what it dies of to the user."""
    folder.mkdir(parents=True, exist_ok=True)
    given = [
        *overrides,
        f"store={store}",
        f"tracking.uri=sqlite:///{folder.parent}/mlflow.db",
        f"hydra.run.dir={folder}/hydra",
    ]
    with (folder / f"{command}.log").open("w") as said:
        done = subprocess.run(
            ["advforensics", command, *given],
            stdout=said,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{command} of {folder.name} failed, see {folder}/{command}.log")


def report(work: Path) -> None:
    """Write ``results.csv``, ``comparisons.csv``, ``training.csv`` and figures into this folder."""
    subprocess.run(["advforensics", "report", f"runs={work}", f"hydra.run.dir={work}/report/hydra"], check=True)
    curves = pd.read_csv(work / "report" / "curves.csv")
    curves[curves["attack"] == "worst"].to_csv(HERE / "results.csv", index=False, float_format="%.4f")
    shutil.copy(work / "report" / "comparisons.csv", HERE)
    for name in ("tradeoff", "training"):
        for figure in (work / "report" / "figures").glob(f"{name}*.png"):
            shutil.copy(figure, HERE)
    courses = [
        pd.read_csv(path)
        .tail(1)
        .assign(defense=path.parent.name.rsplit("-", 1)[0], seed=int(path.parent.name.rsplit("-", 1)[1]))
        for path in sorted(work.glob("*/training.csv"))
    ]
    pd.concat(courses).to_csv(HERE / "training.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main(sys.argv[1:])
