"""Brackets: robust accuracy between certificate and attacks."""

from collections.abc import Collection

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.selection import select
from advforensics.statistics.brackets import ATTACK, CERTIFICATE, SMOOTHING


@mpl.rc_context(style.PAPER)
def draw_bracket(brackets: pd.DataFrame, norm: str, method: str, alarmed: Collection[str] = ()) -> Figure:
    """Draw upper and lower bound on the robust accuracy of each defense, with the area between them shaded.

    Args:
        brackets: From `advforensics.statistics.brackets.brackets`.
        norm: ``linf`` or ``l2``.
        method: Of the certificate. Smoothing certifies the smoothed detector while attacks were on the plain one: the
            area is not shaded then, since the bounds are of two detectors.
        alarmed: Defenses for which an alarm fired; their upper bound is dashed.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = select(brackets, norm=norm, method=method)
    styles, same_detector = style.styles(rows["defense"]), SMOOTHING not in method
    figure = Figure(figsize=(max(4.6, 1.0 + 2.9 * len(styles)), 3.7))
    panels = figure.subplots(1, len(styles), sharey=True, squeeze=False)[0]
    for axes, (defense, (color, marker)) in zip(panels, styles.items(), strict=True):
        of_defense = select(rows, defense=defense)
        positions = style.epsilon_axis(axes, of_defense["eps_levels"], norm, "float")
        upper, lower = (select(of_defense, curve=curve).sort_values("eps_levels") for curve in (ATTACK, CERTIFICATE))
        x = upper["eps_levels"].map(positions)
        if same_detector:
            axes.fill_between(x, lower["estimate"], upper["estimate"], color=color, alpha=0.16, linewidth=0)
        dashes = style.DASHED if defense in alarmed else "solid"
        for bound, face, linestyle in ((upper, color, dashes), (lower, "white", "solid")):
            axes.vlines(x, bound["low"], bound["high"], color=color, linewidth=0.8, alpha=0.6)
            look = {"marker": marker, "markerfacecolor": face, "linestyle": linestyle}
            axes.plot(x, bound["estimate"], color=color, clip_on=False, **look)
        axes.tick_params(axis="x", labelsize=7, rotation=60)
        axes.set_title(style.defense_label(defense, alarmed), loc="left")
    panels[0].set_ylabel("robust accuracy")
    style.percent_axis(panels[0])
    note = "Shaded: undecided." if same_detector else "The certificate is of the smoothed detector."
    style.footnote(
        figure,
        f"{style.sample_size(rows)}. Bars: 95% intervals.\n"
        f"Upper curve: stands under all attacks. Lower curve: certified.\n{method.capitalize()}. {note}",
    )
    return figure
