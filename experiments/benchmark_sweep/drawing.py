"""The figures of the benchmark: the curves with their cost, and how the cost grows."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.figures.files import save

COLORS = {
    "advforensics": ("#D55E00", "o"),
    "torchattacks": ("#0072B2", "s"),
    "foolbox": ("#009E73", "D"),
    "ART": ("#CC79A7", "v"),
}
UNITS = {"images": "images", "points": "radii on the curve", "steps": "steps of the attack"}


def draw_curves(curves: pd.DataFrame, folder: Path) -> None:
    """Write ``curves.png``: robust accuracy against ε, a panel for each detector; the legend tells the cost.

    Args:
        curves: ``results.csv``.
        folder: Where it goes.
    """
    with mpl.rc_context(style.PAPER):
        detectors = list(curves["detector"].unique())
        figure = Figure(figsize=(4.4 * len(detectors), 3.6))
        for axes, detector in zip(figure.subplots(1, len(detectors), squeeze=False)[0], detectors, strict=True):
            rows = curves[curves["detector"] == detector]
            positions = style.epsilon_axis(axes, rows["eps_levels"], "linf", "float")
            for tool, line in rows.groupby("tool", sort=False):
                color, marker = COLORS[str(tool)]
                first = line.iloc[0]
                label = f"{tool}: {first['seconds']:.0f} s, {first['passes'] / 1000:.0f} thousand passes"
                axes.plot(
                    *([positions[eps] for eps in line["eps_levels"]], 100 * line["robust_accuracy"]),
                    color=color,
                    marker=marker,
                    label=label,
                    zorder=4 if tool == "advforensics" else 3,  # the others' curves may cover each other
                )
            axes.set(title=style.words(detector), ylabel="robust accuracy (%)", ylim=(0, 102))
            axes.legend()
        images = int(curves["images"].iloc[0])
        figure.suptitle(f"A whole curve on {images:,} images: what it says and what it costs")
        save(figure, folder, "curves")


def draw_growth(growth: pd.DataFrame, usual: dict[str, int], folder: Path) -> None:
    """Write ``growth.png``: seconds against images, radii and steps, the other two as ``usual``.

    Args:
        growth: ``growth.csv``.
        usual: Images, points and steps in the middle of it all.
        folder: Where it goes.
    """
    with mpl.rc_context(style.PAPER):
        figure = Figure(figsize=(9, 3.2))
        for axes, varied in zip(figure.subplots(1, 3, sharey=True), usual, strict=True):
            fixed = {name: value for name, value in usual.items() if name != varied}
            rows = growth[(growth[list(fixed)] == pd.Series(fixed)).all(axis=1)]
            for tool, line in rows.sort_values(varied).groupby("tool", sort=False):
                color, marker = COLORS[str(tool)]
                axes.plot(line[varied], line["seconds"], color=color, marker=marker, label=str(tool))
            axes.set(xscale="log", yscale="log", xlabel=UNITS[varied])
            ticks = sorted(rows[varied].unique())
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.minorticks_off()
            axes.set_title(", ".join(f"{value:,} {UNITS[name]}" for name, value in fixed.items()), fontsize=8)
        left = figure.axes[0]
        left.set_ylabel("seconds for the curve")
        left.yaxis.set_major_formatter("{x:g}")
        left.legend()
        save(figure, folder, "growth")
