"""Accuracy over the radius, under attacks and after post-processing."""

from collections.abc import Collection

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.selection import Curve, select, upper_bounds
from advforensics.statistics.outcomes import POSTPROCESSING, WORST


@mpl.rc_context(style.PAPER)
def draw_robustness_curves(curves: pd.DataFrame, curve: Curve, classes: int, alarmed: Collection[str] = ()) -> Figure:
    """Draw robust accuracy over the radius, one line with its 95% band per defense.

    Args:
        curves: From `advforensics.statistics.curves.curves`.
        curve: Norm and domain.
        classes: Number of classes K; the chance level is 1/K.
        alarmed: Defenses for which an alarm fired; their curves are dashed.

    Raises:
        ValueError: The table has no such rows.
    """
    swept = select(curves, metric="accuracy", **curve._asdict())
    rows = select(swept, attack=WORST)
    figure, axes = style.figure_with_axes()
    positions = style.epsilon_axis(axes, rows["eps_levels"], *curve)
    _accuracy_axis(axes, "robust accuracy", classes)
    at_most = upper_bounds(curves, curve)
    _draw_bands(axes, rows, positions, alarmed, at_most)
    axes.set_title(f"Robust accuracy, {curve}", loc="left")
    attacks = swept[(swept["attack"] != WORST) & (swept["knowledge"] != POSTPROCESSING)]["attack"].unique()
    note = f"Attacks: {', '.join(style.words(attack) for attack in attacks)}."
    if at_most:
        note += "\nShaded down to 0: an upper bound, for no attack saw gradients of this detector."
    _footnote(figure, rows, note, alarmed)
    return figure


@mpl.rc_context(style.PAPER)
def draw_postprocessing_curves(curves: pd.DataFrame, classes: int, alarmed: Collection[str] = ()) -> Figure:
    """Draw accuracy after post-processing over the size of the change, in levels and in dB PSNR.

    A thin line shows robust accuracy under attacks in the same norm and domain, if those were swept.

    Args:
        curves: From `advforensics.statistics.curves.curves`.
        classes: Number of classes K; the chance level is 1/K.
        alarmed: As for `draw_robustness_curves`.

    Raises:
        ValueError: No post-processing was swept.
    """
    rows = select(curves, metric="accuracy", knowledge=POSTPROCESSING)
    norm, domain = rows[["norm", "domain"]].iloc[0]
    attacked = curves[(curves["metric"] == "accuracy") & (curves["attack"] == WORST)]
    attacked = attacked[(attacked["norm"] == norm) & (attacked["domain"] == domain)]
    figure, axes = style.figure_with_axes()
    positions = style.epsilon_axis(axes, pd.concat([rows["eps_levels"], attacked["eps_levels"]]), norm, domain)
    _accuracy_axis(axes, "accuracy", classes)
    _draw_bands(axes, rows, positions, alarmed)
    for defense, (color, _) in style.styles(rows["defense"]).items():
        line = attacked[attacked["defense"] == defense].sort_values("eps_levels")
        dashes = style.DASHED if defense in alarmed else "solid"
        axes.plot(line["eps_levels"].map(positions), line["estimate"], color=color, linewidth=0.8, linestyle=dashes)
    decibels = axes.secondary_xaxis("top")
    psnr = [f"{20 * np.log10(255 / eps):.0f}" if eps > 0 else "∞" for eps in positions]
    decibels.set_xticks(list(positions.values()), psnr)
    decibels.set_xlabel("PSNR in dB")
    axes.set_title(f"Accuracy after post-processing, {style.DOMAINS[domain]}", loc="left")
    note = "JPEG, resizing, median, noise and blur at every strength within ε. Thin: robust accuracy under attacks."
    _footnote(figure, rows, note, alarmed)
    return figure


def _accuracy_axis(axes: Axes, label: str, classes: int) -> None:
    """Set up an axis from 0 to 100% with a line at the chance level, 1/K for K classes."""
    style.percent_axis(axes)
    axes.set_ylabel(label)
    axes.axhline(1 / classes, color=style.GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    axes.annotate(
        f"chance, 1/{classes}",
        xy=(1, 1 / classes),
        xycoords=("axes fraction", "data"),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        color=style.GREY,
        fontsize=8,
    )


def _draw_bands(
    axes: Axes,
    rows: pd.DataFrame,
    positions: dict[float, float],
    alarmed: Collection[str],
    at_most: Collection[str] = (),
) -> None:
    """Draw the curve of each defense with its 95% band, down to 0 if it is an upper bound, and a legend."""
    for defense, (color, marker) in style.styles(rows["defense"]).items():
        line = rows[rows["defense"] == defense].sort_values("eps_levels")
        x, dashes = line["eps_levels"].map(positions), style.DASHED if defense in alarmed else "solid"
        low = 0 * line["low"] if defense in at_most else line["low"]
        axes.fill_between(x, low, line["high"], color=color, alpha=0.12, linewidth=0, zorder=2)
        label = style.defense_label(defense, alarmed) + ", at most" * (defense in at_most)
        axes.plot(
            x, line["estimate"], color=color, marker=marker, linestyle=dashes, label=label, clip_on=False, zorder=3
        )
        told = [
            f"{style.words(defense)}, ε {style.format_eps(eps)}: {estimate:.1%} [{100 * low:.1f}, {100 * high:.1f}]"
            for eps, estimate, low, high in line[["eps_levels", "estimate", "low", "high"]].to_numpy(float)
        ]
        style.tips(axes, x, line["estimate"], told)
    style.legend(axes)


def _footnote(figure: Figure, rows: pd.DataFrame, note: str, alarmed: Collection[str]) -> None:
    resampled = "photographs and seeds" if rows["seeds"].max() > 1 else "photographs"
    text = f"{style.sample_size(rows)}. Bands: 95% intervals, bootstrap over {resampled}.\n{note}"
    if not set(rows["defense"]).isdisjoint(alarmed):
        text += "\nDashed: an alarm fired in the sweep of this defence."
    style.footnote(figure, text)
