"""Accuracy against epsilon: of every defense, of every attack, and against a forger's post-processing."""

from collections.abc import Collection

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.statistics.outcomes import POSTPROCESSING, WORST


@mpl.rc_context(style.PAPER)
def robustness_curves(
    curves: pd.DataFrame, norm: str, domain: str, classes: int, alarmed: Collection[str] = ()
) -> Figure:
    """Draw robust accuracy (worst over attacks) against epsilon, one line with its 95% band per defense.

    Args:
        curves: From `advforensics.statistics.curves.curves`.
        norm: ``linf`` or ``l2``.
        domain: ``float``, ``8bit``, ``png`` or ``jpeg``.
        classes: Number of classes K; the chance level is 1/K.
        alarmed: Defenses whose sweeps raised an alarm against themselves: drawn dashed.

    Raises:
        ValueError: The table has no such rows.
    """
    swept = _select(curves, metric="accuracy", norm=norm, domain=domain)
    rows = _select(swept, attack=WORST)
    figure, axes = style.wide()
    positions = style.epsilon_axis(axes, rows["eps_levels"], norm, domain)
    style.accuracy_axis(axes, "robust accuracy", classes)
    for defense, (color, marker) in style.styles(rows["defense"]).items():
        line = rows[rows["defense"] == defense].sort_values("eps_levels")
        dashes = style.DASHED if defense in alarmed else "solid"
        label = style.named(defense, alarmed)
        style.band(axes, line["eps_levels"].map(positions), line, color, marker=marker, linestyle=dashes, label=label)
    style.legend(axes)
    axes.set_title(f"Right under every attack, {style.DOMAINS[domain]}", loc="left")
    tried = swept[(swept["attack"] != WORST) & (swept["knowledge"] != POSTPROCESSING)]["attack"].unique()
    note = f"Attacks: {', '.join(style.words(attack) for attack in tried)}."
    style.caption(figure, rows, note + _warning(set(rows["defense"]), alarmed))
    return figure


@mpl.rc_context(style.PAPER)
def postprocessing_curves(curves: pd.DataFrame, classes: int, alarmed: Collection[str] = ()) -> Figure:
    """Draw accuracy under a forger's post-processing against the size of the change, in levels and in dB PSNR.

    The worst case over attacks of the same norm and domain is drawn thin beside it, where it was swept.

    Args:
        curves: From `advforensics.statistics.curves.curves`.
        classes: Number of classes K; the chance level is 1/K.
        alarmed: As for `robustness_curves`.

    Raises:
        ValueError: No post-processing was swept.
    """
    rows = _select(curves, metric="accuracy", knowledge=POSTPROCESSING)
    norm, domain = rows[["norm", "domain"]].iloc[0]
    attacks = curves[(curves["metric"] == "accuracy") & (curves["attack"] == WORST)]
    attacks = attacks[(attacks["norm"] == norm) & (attacks["domain"] == domain)]
    figure, axes = style.wide()
    positions = style.epsilon_axis(axes, pd.concat([rows["eps_levels"], attacks["eps_levels"]]), norm, domain)
    style.accuracy_axis(axes, "accuracy", classes)
    for defense, (color, marker) in style.styles(rows["defense"]).items():
        line = rows[rows["defense"] == defense].sort_values("eps_levels")
        dashes = style.DASHED if defense in alarmed else "solid"
        label = style.named(defense, alarmed)
        style.band(axes, line["eps_levels"].map(positions), line, color, marker=marker, linestyle=dashes, label=label)
        thin = attacks[attacks["defense"] == defense].sort_values("eps_levels")
        axes.plot(thin["eps_levels"].map(positions), thin["estimate"], color=color, linewidth=0.8, linestyle=dashes)
    decibels = axes.secondary_xaxis("top")
    noted = [f"{20 * np.log10(255 / eps):.0f}" if eps > 0 else "∞" for eps in positions]
    decibels.set_xticks(list(positions.values()), noted)
    decibels.set_xlabel("PSNR in dB")
    style.legend(axes)
    axes.set_title("Right whatever the post-processing", loc="left")
    note = "JPEG, resizing, median, noise and blur at every strength that stays within ε. Thin: attacks."
    style.caption(figure, rows, note + _warning(set(rows["defense"]), alarmed))
    return figure


def _warning(drawn: Collection[str], alarmed: Collection[str]) -> str:
    return "\nDashed: the sweep raised an alarm against itself; see its verdict." if set(drawn) & set(alarmed) else ""


def _select(curves: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    rows = curves
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ValueError(f"No curve with {wanted}; sweep that first.")
    return rows
