"""How figures look: fonts, colours, the epsilon axis, captions.

Colours are those of Okabe & Ito (2008, Color Universal Design), which people with any common colour vision tell
apart; every line has a marker of its own too, so that grey prints stay readable.
"""

from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

STYLES = {
    "baseline": ("#000000", "o"),
    "gradient_regularized": ("#0072B2", "s"),
    "adversarial_fusion": ("#D55E00", "^"),
    "regularized_fusion": ("#009E73", "D"),
}
OTHER_STYLES = [("#CC79A7", "v"), ("#E69F00", "P"), ("#56B4E9", "X"), ("#7F7F7F", "<"), ("#8C6D31", ">")]

PAPER: dict[Any, Any] = {  # matplotlib types the keys as literals
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "figure.constrained_layout.use": True,
}
GREY = "#666666"
DASHED = (0, (5, 2))  # of a curve against which an alarm has fired
DOMAINS = {"float": "float pictures", "8bit": "8-bit pictures", "png": "PNG files", "jpeg": "JPEG files"}
NORMS = {"linf": "L∞", "l2": "L2"}
UNITS = {
    "linf": "radius ε in levels ($L_\\infty$; 1 level = 1/255)",
    "l2": "radius ε in levels ($L_2$, as root mean square per pixel value; 1 level = 1/255)",
}


def styles(defenses: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Give each defense its colour and marker: the known ones always theirs, others the next ones by alphabet."""
    names = set(defenses)
    known = {name: style for name, style in STYLES.items() if name in names}
    others = sorted(names - set(STYLES))
    return known | {name: OTHER_STYLES[index % len(OTHER_STYLES)] for index, name in enumerate(others)}


def words(name: str) -> str:
    """Write a name of the code as words."""
    return name.replace("_", " ")


def wide() -> tuple[Figure, Axes]:
    """Return a figure for curves, with a legend's room beside them."""
    figure = Figure(figsize=(6.6, 3.8))
    return figure, figure.add_subplot()


def legend(axes: Axes, **settings: Any) -> None:
    """Put the legend beside the axes, where no curve can run into it."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2, **settings)


def named(defense: str, alarmed: Collection[str]) -> str:
    """Return a defense's name for a legend, with a warning if an alarm fired against it."""
    return f"{words(defense)} (alarm)" if defense in alarmed else words(defense)


def band(axes: Axes, x: "pd.Series[float]", line: pd.DataFrame, color: str, **settings: Any) -> None:
    """Draw a curve with its 95% band, from the columns ``estimate``, ``low`` and ``high``."""
    axes.fill_between(x, line["low"], line["high"], color=color, alpha=0.15, linewidth=0)
    axes.plot(x, line["estimate"], color=color, clip_on=False, zorder=3, **settings)


def epsilon_axis(axes: Axes, eps_levels: "pd.Series[float]", norm: str, domain: str) -> dict[float, float]:
    """Set up an axis on which 0 and each doubling are one step apart; return the position of each epsilon."""
    grid = sorted(set(eps_levels))
    smallest = next((eps for eps in grid if eps > 0), 1.0)
    positions = {eps: float(1 + np.log2(eps / smallest)) if eps > 0 else 0.0 for eps in grid}
    axes.set_xticks(list(positions.values()), [fraction(eps) for eps in grid])
    axes.set_xlim(-0.15, max(positions.values()) + 0.15)
    axes.set_xlabel(UNITS[norm])
    one_level = float(1 - np.log2(smallest))
    if norm == "linf" and domain != "float" and one_level > 1:
        axes.axvspan(-0.15, one_level, color="#F0F0F0", linewidth=0, zorder=0)
        axes.text(one_level / 2, 0.03, "below 1 level the picture itself", color=GREY, ha="center", fontsize=8)
    return positions


def accuracy_axis(axes: Axes, label: str, classes: int) -> None:
    """Set up an axis from 0 to 100% that shows where guessing among K classes, 1/K, lies."""
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel(label)
    axes.axhline(1 / classes, color=GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    axes.annotate(
        f"chance, 1/{classes}",
        xy=(1, 1 / classes),
        xycoords=("axes fraction", "data"),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=GREY,
        fontsize=8,
    )


def caption(figure: Figure, rows: pd.DataFrame, note: str) -> None:
    """Write below a figure what its curves rest on, from the columns ``images``, ``photographs`` and ``seeds``."""
    what = "photographs and seeds" if rows["seeds"].max() > 1 else "photographs"
    footnote(figure, f"{rests_on(rows)}. Bands: 95% intervals, bootstrap over {what}.\n{note}")


def rests_on(rows: pd.DataFrame) -> str:
    """Count what rows rest on, from the columns ``images``, ``photographs`` and ``seeds``."""
    kinds = (("images", "test image"), ("photographs", "photograph"), ("seeds", "training seed"))
    return ", ".join(many(rows[column].min(), singular, rows[column].max()) for column, singular in kinds)


def footnote(figure: Figure, text: str) -> None:
    """Write small lines below a figure."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, color=GREY, linespacing=1.4)


def many(count: int, singular: str, most: int | None = None) -> str:
    """Count in words: '1 photograph', '20 patches', '2 to 3 training seeds'."""
    number = f"{count:,}" if most in (None, count) else f"{count:,} to {most:,}"
    return f"{number} {singular}{'' if number == '1' else 'es' if singular.endswith('ch') else 's'}"


def fraction(eps_levels: float) -> str:
    """Write an epsilon as people say it: 0, 1/8, 3/4, 2."""
    return str(Fraction(eps_levels).limit_denominator(1024))
