"""Which λ, which ε? ``python -m experiments.search.run STORE`` trains one detector per strength.

Writes ``results.csv``, the course of each training on validation photographs, and ``front.png`` here. No test picture
is seen.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from advforensics.reporting.figures.tradeoff import draw_tradeoff
from experiments.defenses.run import COMMON
from experiments.trainings import train

HERE = Path(__file__).parent
WEIGHT, RADIUS, NORM, LAMBDA = (
    f"defense.module.{name}=" for name in ("weight", "eps_levels", "penalty.norm", "penalty_weight")
)
PENALTY, FUSION = "defense=gradient_regularized", "defense=adversarial_fusion"
L1 = (PENALTY, NORM + "l1")
STRENGTHS = {  # by defence, as the figure names it
    "baseline": [("defense=baseline",)],
    "gradient_regularized": [(PENALTY, WEIGHT + weight) for weight in ("0.03", "0.04", "0.08")],
    "penalty, l1": [(*L1, WEIGHT + weight) for weight in ("0.0012", "0.002", "0.004", "0.006")],
    "penalty, l2 squared": [(PENALTY, "defense.module.penalty.squared=true", WEIGHT + "0.01")],
    "adversarial_fusion": [
        (FUSION, RADIUS + eps, WEIGHT + weight)
        for eps, weight in (("0.25", "0.5"), ("0.3", "0.5"), ("0.35", "0.5"), ("0.9", "0.6"))
    ],
    "regularized_fusion": [
        ("defense=regularized_fusion", RADIUS + "0.75", LAMBDA + "0.04"),
        (
            "defense=regularized_fusion",
            RADIUS + "0.9",
            WEIGHT + "0.6",
            NORM + "l1",
            LAMBDA + "0.001",
        ),
    ],
}
COLUMNS = ["epoch", "val_accuracy", "val_robust_accuracy", "train_robust_accuracy", "train_loss"]


def main() -> None:
    """Train all, write table and figure."""
    parser = argparse.ArgumentParser(description="Which λ, which ε?")
    parser.add_argument("store", type=Path, help="of patches, as `advforensics prepare` writes it")
    parser.add_argument("--work", type=Path, default=Path("out/search"), help="where the detectors go")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    chosen = parser.parse_args()
    jobs = [(defense, strength) for defense, strengths in STRENGTHS.items() for strength in strengths]
    folders = [chosen.work / f"{index:02d}" for index in range(len(jobs))]
    with ThreadPoolExecutor(chosen.jobs) as pool, tqdm(total=len(jobs), smoothing=0) as bar:
        for _ in pool.map(lambda folder, job: train(folder, chosen.store, *COMMON, *job[1]), folders, jobs):
            bar.update()
    courses = [
        pd.read_csv(folder / "training.csv")[COLUMNS].assign(defense=defense, strength=" ".join(strength[1:]))
        for folder, (defense, strength) in zip(folders, jobs, strict=True)
    ]
    table = pd.concat(courses, ignore_index=True)
    table["strength"] = table["strength"].str.replace("defense.module.", "")
    table[["defense", "strength", *COLUMNS]].round(4).to_csv(HERE / "results.csv", index=False)
    ends = table[table["epoch"] == table["epoch"].max()]
    points = ends.rename(columns={"val_accuracy": "clean", "val_robust_accuracy": "robust"})
    note = "Validation photographs: 4,224 patches clean, 256 attacked with APGD-5; a detector per strength, last epoch."
    draw_tradeoff(points, 0.5, note).savefig(HERE / "front.png", dpi=160)


if __name__ == "__main__":
    main()
