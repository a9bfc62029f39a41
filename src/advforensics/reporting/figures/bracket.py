"""Robust accuracy between what attacks leave and what is proven."""

from collections.abc import Collection
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.statistics.brackets import ATTACK, CERTIFICATE, SMOOTHING


@mpl.rc_context(style.PAPER)
def bracket(brackets: pd.DataFrame, norm: str, method: str, alarmed: Collection[str] = ()) -> Figure:
    """Draw the upper and the lower bound of robust accuracy of each defense, with what is unknown between them filled.

    Args:
        brackets: From `advforensics.statistics.brackets.brackets`.
        norm: ``linf`` or ``l2``.
        method: Of certification. One that certifies the smoothed detector is drawn beside the attacks on the plain
            one, without filling: they bound two different detectors.
        alarmed: Defenses whose sweeps raised an alarm against themselves: their upper bound is drawn dashed.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = brackets[(brackets["norm"] == norm) & (brackets["method"] == method)]
    if rows.empty:
        raise ValueError(f"No certificate in {norm} by {method}; run `advforensics certify` first.")
    styles, same = style.styles(rows["defense"]), SMOOTHING not in method
    figure = Figure(figsize=(1.0 + 2.9 * len(styles), 3.7))
    panels = figure.subplots(1, len(styles), sharey=True, squeeze=False)[0]
    for axes, (defense, (color, marker)) in zip(panels, styles.items(), strict=True):
        own = rows[rows["defense"] == defense]
        dashes = style.DASHED if defense in alarmed else "solid"
        _panel(axes, own, norm, color, marker, dashes, filled=same)
        axes.set_title(style.named(defense, alarmed), loc="left")
    panels[0].set_ylabel("robust accuracy")
    panels[0].set_ylim(0, 1.02)
    panels[0].yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    detector = (
        "Filled: what neither attack nor proof decides."
        if same
        else "Proven of the smoothed detector, not of this one."
    )
    style.footnote(
        figure,
        f"{style.rests_on(rows)}. Bars: 95% intervals.\n"
        f"Upper curve: no attack turned it. Lower curve: proven by {method}. {detector}",
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, norm: str, color: str, marker: str, dashes: Any, *, filled: bool) -> None:
    positions = style.epsilon_axis(axes, rows["eps_levels"], norm, "float")
    upper, lower = (rows[rows["curve"] == curve].sort_values("eps_levels") for curve in (ATTACK, CERTIFICATE))
    x = upper["eps_levels"].map(positions)
    if filled:
        axes.fill_between(x, lower["estimate"], upper["estimate"], color=color, alpha=0.16, linewidth=0)
    for line, inside, stroke in ((upper, color, dashes), (lower, "white", "solid")):
        axes.vlines(x, line["low"], line["high"], color=color, linewidth=0.8, alpha=0.6)
        axes.plot(
            x, line["estimate"], color=color, marker=marker, markerfacecolor=inside, linestyle=stroke, clip_on=False
        )
    axes.tick_params(axis="x", labelsize=7, rotation=60)
