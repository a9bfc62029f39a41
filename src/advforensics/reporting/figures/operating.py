"""What a detector catches at each rate of false alarms, clean and under attack."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.reporting import style
from advforensics.statistics.operating_points import ALLOWED, ATTACKED, CLEAN


@mpl.rc_context(style.PAPER)
def draw_roc(points: pd.DataFrame, null: str, attack: str) -> Figure:
    """Draw the ROC of each defense, solid when clean and dotted under attack.

    Args:
        points: From :func:`advforensics.statistics.operating_points.roc`.
        null: The class of unaltered pictures.
        attack: What the attack was, in words.
    """
    figure, axes = style.figure_with_axes()
    for defense, (color, _) in style.styles(points["defense"]).items():
        for condition, dashes in ((CLEAN, "solid"), (ATTACKED, (0, (1, 1.5)))):
            curve = points[(points["defense"] == defense) & (points["condition"] == condition)]
            label = f"{style.words(defense)}, {condition}"
            axes.plot(curve["false_alarms"], curve["caught"], color=color, linestyle=dashes, label=label)
    for share in ALLOWED:
        axes.axvline(share, color=style.GREY, linewidth=0.6, zorder=1)
    axes.plot([0, 1], [0, 1], color=style.GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    style.percent_axis(axes)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(f"share of {null} pictures accused")
    axes.set_ylabel("share of the others caught")
    axes.set_title("What is caught at which rate of false alarms", loc="left")
    style.legend(axes)
    style.footnote(figure, f"Dotted: {attack}. Grey lines: 1% and 5% false alarms. Slanted: chance.")
    return figure
