"""Robust against clean accuracy."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.reporting import style


@mpl.rc_context(style.PAPER)
def draw_tradeoff(points: pd.DataFrame, eps_levels: float, note: str) -> Figure:
    """Draw robust against clean accuracy, one point per row, and the Pareto front.

    Args:
        points: Columns ``defense``, ``clean`` and ``robust``, fractions in [0, 1].
        eps_levels: Radius of ``robust``, in levels.
        note: Footnote with the sample size.
    """
    figure, axes = style.figure_with_axes()
    front = pareto_front(points)
    axes.step(front["clean"], front["robust"], where="pre", color=style.GREY, linewidth=1, zorder=1)
    for defense, (color, marker) in style.styles(points["defense"]).items():
        rows = points[points["defense"] == defense]
        axes.scatter(
            rows["clean"], rows["robust"], color=color, marker=marker, s=26, label=style.words(defense), zorder=3
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="clean accuracy", ylabel=f"robust accuracy at {style.format_radius(eps_levels)}")
    axes.set_title("Robust against clean accuracy; line: Pareto front", loc="left")
    style.legend(axes)
    style.footnote(figure, note)
    return figure


def pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that no other row beats in both ``clean`` and ``robust``, by descending ``clean``."""
    best = points.sort_values(["clean", "robust"], ascending=False)
    return best[best["robust"] > best["robust"].cummax().shift(fill_value=float("-inf"))]
