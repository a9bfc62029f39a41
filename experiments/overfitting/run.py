"""Catastrophic overfitting, provoked: unguarded and guarded. ``python -m experiments.overfitting.run STORE``.

FGSM of 2 levels on nothing but its own images, which single-step training does not survive; writes ``results.csv`` and
``overfitting.png`` here.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from experiments.trainings import train

HERE = Path(__file__).parent
FGSM = ["defense=adversarial_fusion", "defense.module.eps_levels=2", "defense.module.weight=1"]
TRAIN = [*FGSM, "defense.module.reuse_gradient=false", "trainer.precision=bf16-mixed", "trainer.max_epochs=8"]
RUNS = {"unguarded": [*TRAIN, "defense.guard=null"], "guarded": TRAIN}
PANELS = {
    "val_robust_accuracy": "robust accuracy at ½ level, validation",
    "val_accuracy": "clean accuracy, validation",
    "train_loss": "training loss",
}


def draw(table: pd.DataFrame) -> Figure:
    """Return a panel for each of `PANELS`, over epochs, the two trainings in each."""
    with mpl.rc_context(style.PAPER):
        figure = Figure(figsize=(9.6, 2.9))
        for axes, (column, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for (name, rows), color in zip(table.groupby("training", sort=False), ("#D55E00", "#0072B2"), strict=True):
                axes.plot(rows["epoch"], rows[column], "o-", color=color, label=name)
                caught = rows[rows["overfitting_caught"].fillna(0) > 0].head(1)
                axes.plot(caught["epoch"], caught[column], "*", color=color, markersize=13, label="_")
            axes.set_xlabel("epoch")
            axes.set_title(label)
        axes.legend()
        style.footnote(figure, "Star: the epoch in which the guard went back and took up PGD.")
    return figure


def main() -> None:
    """Train both, write table and figure."""
    parser = argparse.ArgumentParser(description="Catastrophic overfitting, provoked: unguarded and guarded")
    parser.add_argument("store", type=Path, help="of patches, as `advforensics prepare` writes it")
    parser.add_argument("--work", type=Path, default=Path("out/overfitting"), help="where the detectors go")
    chosen = parser.parse_args()
    courses = []
    for name, overrides in RUNS.items():
        folder = chosen.work / name
        train(folder, chosen.store, *overrides)
        courses.append(pd.read_csv(folder / "training.csv").assign(training=name))
    table = pd.concat(courses, ignore_index=True)
    table = table.reindex(
        columns=["training", "epoch", *PANELS, "train_robust_accuracy", "overfitting_gap", "overfitting_caught"]
    )
    table.round(4).to_csv(HERE / "results.csv", index=False)
    draw(table).savefig(HERE / "overfitting.png", dpi=160)


if __name__ == "__main__":
    main()
