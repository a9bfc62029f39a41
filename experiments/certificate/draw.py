"""``python experiments/certificate/draw.py FOLDER``: what run.py has written, summed up and drawn as brackets.

It writes ``results.csv`` and ``bracket.png`` beside this file.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.robustness.certificate import LINEAR
from advforensics.robustness.intervals import Bootstrap
from advforensics.style import STYLES, UNITS

EPS_LEVELS = np.geomspace(1e-3, 4, 80)


def summed_up(rows: pd.DataFrame) -> dict[str, object]:
    """Return the figures of one detector, norm and method; medians are over pictures that are right when clean."""
    bootstrap = Bootstrap(rows["group"])
    right = rows[rows["correct"]]
    medians: dict[str, float] = {}
    for name, column in (("certified", "radius_levels"), ("attack", "attack_levels")):
        median = (
            Bootstrap(right["group"]).median(right[column].clip(upper=255), np.ones(len(right), dtype=bool)).interval()
        )
        medians |= {f"{name}_median": median.estimate, f"{name}_low": median.low, f"{name}_high": median.high}
    return {
        "images": len(rows),
        "photographs": bootstrap.photographs,
        "right": bootstrap.mean(rows["correct"]).interval().estimate,
        "certified_images": int((rows["radius_levels"] > 0).sum()),
        "turned_inside": int((rows["attacks_inside"] > 0).sum()),
        **medians,
        "ratio_median": float((right["attack_levels"] / right["radius_levels"].clip(lower=1e-9)).median()),
    }


def bracket(axes: Axes, rows: pd.DataFrame, defense: str) -> None:
    """Draw for one detector the share proved to stand (below) and the share that the attack leaves (above)."""
    colour, _ = STYLES[defense]
    bootstrap = Bootstrap(rows["group"])
    right, certified, attack = (rows[name].to_numpy() for name in ("correct", "radius_levels", "attack_levels"))
    stands = np.stack([right & (attack > eps) for eps in EPS_LEVELS])
    proved = np.stack([right & (certified >= eps) for eps in EPS_LEVELS])
    upper, lower = bootstrap.mean(stands), bootstrap.mean(proved)
    axes.fill_between(EPS_LEVELS, lower.estimate, upper.estimate, color=colour, alpha=0.15, linewidth=0)
    axes.plot(EPS_LEVELS, upper.estimate, color=colour, label=f"{defense}: left by the attack")
    axes.plot(EPS_LEVELS, lower.estimate, color=colour, linestyle=":", label="proved")
    for limit in (upper.limits()[1], lower.limits()[0]):
        axes.plot(EPS_LEVELS, limit, color=colour, linewidth=0.5, alpha=0.6)


def main(folder: str) -> None:
    """Sum up every detector, and draw the linear bounds of each task and norm."""
    here = Path(__file__).parent
    rows = pd.concat([pd.read_csv(path) for path in sorted(Path(folder).glob("*.csv"))])
    parts = rows.groupby(["detector", "norm", "method"])
    table = pd.DataFrame({"detector": d, "norm": n, "method": m} | summed_up(part) for (d, n, m), part in parts)
    table.round(5).to_csv(here / "results.csv", index=False)
    linear = rows[rows["method"] == LINEAR].copy()
    linear[["task", "defense"]] = linear["detector"].str.split("-", expand=True)
    tasks = sorted(linear["task"].unique())
    figure = Figure(figsize=(9, 3.4 * len(tasks)), layout="constrained")
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False, sharey=True), tasks, strict=True):
        for axes, norm in zip(row, ("linf", "l2"), strict=True):
            of_task = linear[(linear["task"] == task) & (linear["norm"] == norm)]
            for defense, part in of_task.groupby("defense"):
                bracket(axes, part, str(defense))
            axes.set(xscale="log", ylim=(0, 1), title=task, xlabel=UNITS[norm], ylabel="accuracy")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.grid(color="#E6E6E6")
        row[1].legend(fontsize=7, frameon=False)
    figure.savefig(here / "bracket.png", dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
