"""The figure of the benchmark: what a step costs, by who trains how, on each size of network and patch."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from advforensics.reporting import style
from advforensics.reporting.figures.files import save

STYLES = {
    "advforensics": ("#D55E00", "o"),
    "PyTorch": ("#0072B2", "s"),
    "torchattacks": ("#009E73", "D"),
    "ART": ("#CC79A7", "v"),
}
MOST_PASSES = 3  # a floor of more is made of an attack's passes, which cost less than whole ones: not drawn
GROUPS = {  # regimes that are after the same thing, and what they are called
    "baseline": "plain",
    "gradient_regularized": "penalty",
    "adversarial_fusion": "fusion",
    "regularized_fusion": "penalty and fusion",
    "free": "free",
    "noise_fgsm": "N-FGSM",
    "pgd_training": "PGD-7",
    "trades": "TRADES",
}


def draw(rows: pd.DataFrame, folder: Path) -> None:
    """Write ``steps.png``: a panel for each size, a dot for each candidate (float32, eager), a tick for its floor.

    Args:
        rows: ``results.csv``.
        folder: Where it goes.
    """
    rows = rows[(rows["precision"] == "float32") & ~rows["compiled"] & (rows["implementation"] != "floor")]
    detectors, patches = list(rows["detector"].unique()), list(rows["patch"].unique())
    with mpl.rc_context(style.PAPER):
        figure = Figure(figsize=(2.6 + 2.7 * len(detectors), 1.2 + 3.7 * len(patches)))
        panels = figure.subplots(len(patches), len(detectors), squeeze=False, sharex=True, sharey=True)
        for patch, line in zip(patches, panels, strict=True):
            for detector, axes in zip(detectors, line, strict=True):
                _panel(axes, rows[(rows["patch"] == patch) & (rows["detector"] == detector)])
                axes.set_title(f"{detector} network, {patch} x {patch} pixels")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * 1.6)  # room for the last number
        for axes in panels[-1]:
            axes.set_xlabel("ms per step of 64 images")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3)
        style.footnote(
            figure,
            "Lines: quartiles over steps. Floor: the bare passes that the regime needs at least.\nOthers than"
            " advforensics: eager, contiguous memory, one batch in memory.",
        )
        save(figure, folder, "steps")


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw one size; regimes from top to bottom, candidates with their ms beside them."""
    names: list[str] = []
    for defense, group_name in GROUPS.items():
        if names:
            axes.axhline(len(names) - 0.5, color="#CCCCCC", linewidth=0.6, zorder=0)
        for _, row in rows[rows["defense"] == defense].sort_values("variant", kind="stable").iterrows():
            color, marker = STYLES[str(row["implementation"])]
            place = len(names)
            axes.plot([row["ms_low"], row["ms_high"]], [place] * 2, color=color, linewidth=1)
            axes.plot(row["ms_per_step"], place, marker, color=color)
            if row["floor_passes"] <= MOST_PASSES:
                floor = row["ms_per_step"] / row["ratio_to_floor"]
                axes.vlines(floor, place - 0.5, place + 0.5, color="black", linewidth=1.2, zorder=1)
            axes.annotate(
                f"{row['ms_per_step']:.0f}",
                xy=(row["ms_high"], place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=style.GREY,
            )
            names.append(f"{group_name}, {row['variant']}" if row["variant"] else group_name)
    for implementation, (color, marker) in STYLES.items():
        axes.plot([], [], marker, color=color, label=implementation)
    axes.plot([], [], color="black", linewidth=1.2, label="floor")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
