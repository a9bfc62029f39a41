"""The look of figures: fonts, colours, axes, footnotes.

The colours are those of Okabe & Ito (2008, Color Universal Design), which are distinct under all common forms of colour
blindness. Every defense also has a marker of its own, for prints in grey.
"""

from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Any
from urllib.parse import quote

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
TIP = "tip:"  # begins the id of a point that tells a text
GREY = "#666666"
DASHED = (0, (5, 2))  # of a curve whose sweep fired an alarm
DOMAINS = {
    "float": "float pictures",
    "8bit": "8-bit pictures",
    "png": "PNG files",
    "jpeg": "JPEG files",
    "chain": "files after a chain",
}
NORMS = {"linf": "L∞", "l2": "L2"}
RADIUS_LABELS = {
    "linf": "radius ε in levels ($L_\\infty$; 1 level = 1/255)",
    "l2": "radius ε in levels ($L_2$, root mean square over pixel values; 1 level = 1/255)",
}


def styles(defenses: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each defense: fixed ones for known defenses, the next ones by alphabet for others."""
    names = set(defenses)
    known = {name: style for name, style in STYLES.items() if name in names}
    others = sorted(names - set(STYLES))
    return known | {name: OTHER_STYLES[index % len(OTHER_STYLES)] for index, name in enumerate(others)}


def words(name: str) -> str:
    """Write a name of the code as words."""
    return "8-bit examples" if name == "8bit" else name.replace("_", " ")


def figure_with_axes(width: float = 6.6, height: float = 3.8) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches, by default with room for a legend beside its axes."""
    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def legend(axes: Axes, **settings: Any) -> None:
    """Put the legend beside the axes, where it hides no curve."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2, **settings)


def defense_label(defense: str, alarmed: Collection[str]) -> str:
    """Write a defense for a legend, marked if an alarm fired for it."""
    return f"{words(defense)} (alarm)" if defense in alarmed else words(defense)


def epsilon_axis(axes: Axes, eps_levels: "pd.Series[float]", norm: str, domain: str) -> dict[float, float]:
    """Set up an axis on which 0 and each doubling are one step apart; return the position of each radius."""
    grid = sorted(set(eps_levels))
    smallest = next((eps for eps in grid if eps > 0), 1.0)
    positions = {eps: float(1 + np.log2(eps / smallest)) if eps > 0 else 0.0 for eps in grid}
    axes.set_xticks(list(positions.values()), [format_eps(eps) for eps in grid])
    axes.set_xlim(-0.15, max(positions.values()) + 0.15)
    axes.set_xlabel(RADIUS_LABELS[norm])
    one_level = float(1 - np.log2(smallest))
    if norm == "linf" and domain != "float" and one_level > 1:
        axes.axvspan(-0.15, one_level, color="#F0F0F0", linewidth=0, zorder=0)
        axes.text(one_level / 2, 0.03, "no change possible below 1 level", color=GREY, ha="center", fontsize=8)
    return positions


def percent_axis(axes: Axes, top: float = 1.02) -> None:
    """Set up a vertical axis from 0 to 100%."""
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def tips(axes: Axes, x: Iterable[float], y: Iterable[float], texts: Iterable[str]) -> None:
    """Let points of a figure tell a text where a pointer rests on them; :mod:`.page` turns their ids into titles."""
    for across, up, text in zip(x, y, texts, strict=True):
        (point,) = axes.plot(across, up, "o", markersize=14, color=(0, 0, 0, 0), zorder=4, clip_on=False)
        point.set_gid(f"{TIP}{quote(text)}")


def footnote(figure: Figure, text: str) -> None:
    """Write small lines below a figure."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, color=GREY, linespacing=1.4)


def sample_size(rows: pd.DataFrame) -> str:
    """Write how many images, photographs and seeds there are, from the columns of these names."""
    kinds = (("images", "test image"), ("photographs", "photograph"), ("seeds", "training seed"))
    return ", ".join(count(rows[column].min(), singular, rows[column].max()) for column, singular in kinds)


def count(number: int, singular: str, most: int | None = None) -> str:
    """Write a number of things: '1 photograph', '20 patches', '2 to 3 training seeds'."""
    text = f"{number:,}" if most in (None, number) else f"{number:,} to {most:,}"
    return f"{text} {singular}{'' if text == '1' else 'es' if singular.endswith('ch') else 's'}"


def format_eps(eps_levels: float) -> str:
    """Write a radius in levels as a fraction: 0, 1/8, 3/4, 2."""
    return str(Fraction(eps_levels).limit_denominator(1024))


def format_radius(eps_levels: float) -> str:
    """Write a radius with its unit: 1/2 level, 2 levels."""
    return f"{format_eps(eps_levels)} level{'s' if eps_levels > 1 else ''}"
