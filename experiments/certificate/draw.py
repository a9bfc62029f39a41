"""``python experiments/certificate/draw.py FOLDER``: what run.py has written, summed up and drawn as brackets.

It writes ``results.csv`` and ``bracket.png`` beside this file.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.certificates.certified_radii import LINEAR
from advforensics.reporting.style import PAPER
from advforensics.statistics.intervals import Bootstrap

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
        if right[column].isin([np.inf]).mean() >= 0.5:  # a vote that no attack has turned has no such radius
            continue
        medians |= {f"{name}_median": median.estimate, f"{name}_low": median.low, f"{name}_high": median.high}
    ratio = (right["attack_levels"] / right["radius_levels"].clip(lower=1e-9)).median()
    return {
        "images": len(rows),
        "photographs": bootstrap.photographs,
        "right": bootstrap.mean(rows["correct"]).interval().estimate,
        "certified_images": int((rows["radius_levels"] > 0).sum()),
        "turned_inside": int((rows["attacks_inside"] > 0).sum()),
        **medians,
        "ratio_median": float(ratio),
    }


def bracket(axes: Axes, rows: pd.DataFrame, label: str, colour: str) -> None:
    """Draw the share that the attack leaves and the share proved to stand, with their outer limits."""
    bootstrap = Bootstrap(rows["group"])
    right, certified, attack = (rows[name].to_numpy() for name in ("correct", "radius_levels", "attack_levels"))
    upper = bootstrap.mean(np.stack([right & (attack > eps) for eps in EPS_LEVELS]))
    lower = bootstrap.mean(np.stack([right & (certified >= eps) for eps in EPS_LEVELS]))
    axes.fill_between(EPS_LEVELS, lower.estimate, upper.estimate, color=colour, alpha=0.15, linewidth=0)
    axes.plot(EPS_LEVELS, upper.estimate, color=colour, label=f"{label}: left by the attack")
    axes.plot(EPS_LEVELS, lower.estimate, color=colour, linestyle=":", label=f"{label}: proved")
    for limit in (upper.columns()["high"], lower.columns()["low"]):
        axes.plot(EPS_LEVELS, limit, color=colour, linewidth=0.5, alpha=0.7)


def main(folder: str) -> None:
    """Sum up every detector, and draw its brackets."""
    here = Path(__file__).parent
    rows = pd.concat([pd.read_csv(path) for path in sorted(Path(folder).glob("*.csv"))])
    parts = rows.groupby(["detector", "norm", "method"])
    table = pd.DataFrame({"detector": d, "norm": n, "method": m} | summed_up(part) for (d, n, m), part in parts)
    table.round(5).to_csv(here / "results.csv", index=False)
    rows[["task", "defense"]] = rows["detector"].str.split("-", expand=True)
    tasks, defenses = sorted(rows["task"].unique()), ["baseline", "gradient_regularized", "adversarial_fusion"]
    with matplotlib.rc_context(PAPER):
        figure = Figure(figsize=(10, 3 * len(tasks)))
        panels = figure.subplots(len(tasks), len(defenses), squeeze=False, sharey=True, sharex=True)
        for row, task in zip(panels, tasks, strict=True):
            for axes, defense in zip(row, defenses, strict=True):
                shown = rows[(rows["task"] == task) & (rows["defense"] == defense)]
                linear = shown[shown["method"] == LINEAR]
                bracket(axes, linear[linear["norm"] == "linf"], "$L_\\infty$", "#D55E00")
                bracket(axes, linear[linear["norm"] == "l2"], "$L_2$", "#0072B2")
                voted = shown[shown["method"] != LINEAR]
                share = [(voted["radius_levels"] >= eps).mean() for eps in EPS_LEVELS]
                axes.plot(
                    EPS_LEVELS, share, color="black", linestyle="--", linewidth=1, label="$L_2$: proved, of the vote"
                )
                axes.set(xscale="log", ylim=(0, 1), title=f"{task}, {defense}", xlabel="radius ε in levels")
                axes.yaxis.set_major_formatter(PercentFormatter(1))
        panels[0, 0].set_ylabel("accuracy")
        panels[0, 0].legend(fontsize=6.5)
        figure.savefig(here / "bracket.png", dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
