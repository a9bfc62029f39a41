"""What robustness costs in clean accuracy."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.reporting import style


@mpl.rc_context(style.PAPER)
def tradeoff(points: pd.DataFrame, eps_levels: float, note: str) -> Figure:
    """Draw robust against clean accuracy, a point per detector, and the Pareto front through those that none beats.

    Args:
        points: Columns ``defense``, ``clean`` and ``robust``, fractions in [0, 1], a row per detector.
        eps_levels: Radius of ``robust``, in levels.
        note: What the numbers rest on, for the foot of the figure.
    """
    figure, axes = style.wide()
    front = pareto(points)
    axes.step(front["clean"], front["robust"], where="pre", color=style.GREY, linewidth=1, zorder=1)
    for defense, (color, marker) in style.styles(points["defense"]).items():
        rows = points[points["defense"] == defense]
        axes.scatter(
            rows["clean"], rows["robust"], color=color, marker=marker, s=26, label=style.words(defense), zorder=3
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("clean accuracy")
    axes.set_ylabel(f"robust accuracy at {style.fraction(eps_levels)} level")
    axes.set_title("What robustness costs; the line is the Pareto front", loc="left")
    style.legend(axes)
    style.footnote(figure, note)
    return figure


def pareto(points: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that no other beats in ``clean`` and ``robust`` at once, from the cleanest to the most robust."""
    best = points.sort_values(["clean", "robust"], ascending=False)
    return best[best["robust"] > best["robust"].cummax().shift(fill_value=float("-inf"))]
