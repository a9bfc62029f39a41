"""Findings: sentences that state the results of a report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from advforensics.reporting import style
from advforensics.reporting.selection import Curve, single_row, upper_bounds
from advforensics.statistics.intervals import FEW_PHOTOGRAPHS, format_interval
from advforensics.statistics.outcomes import WORST

SIGNIFICANCE_LEVEL = 0.05


def reported_curve(table: pd.DataFrame) -> Curve:
    """Return the norm and domain of the report: L∞ in float, or the first in the order of :mod:`.style`.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.

    Raises:
        ValueError: No norm and domain was swept for every defense.
    """
    swept = table[table["attack"] == WORST].groupby(["norm", "domain"], observed=True)["defense"].nunique()
    swept_for_all = swept.index[swept == table["defense"].nunique()]
    for curve in product(style.NORMS, style.DOMAINS):
        if curve in swept_for_all:
            return Curve(*curve)
    raise ValueError(
        f"runs: no norm and domain was swept for all of {list(table['defense'].unique())}; sweep all in one, or write"
        " a report for each"
    )


def reported_radius(radii: Iterable[float]) -> float:
    """Return the radius of a finding that nobody has chosen: the largest up to 1 level, or else the smallest but 0."""
    swept = sorted({float(radius) for radius in radii} - {0.0})
    return max((radius for radius in swept if radius <= 1), default=swept[0] if swept else 0.0)


def format_share(row: Any) -> str:
    """Write a share and its interval: 41.0% [36.0, 46.0]; a share of no images is unknown."""
    if np.isnan(row.estimate):
        return "unknown"
    return f"{100 * row.estimate:.1f}% {format_interval(100 * row.low, 100 * row.high, '.1f')}"


def format_difference(row: Any) -> str:
    """Write a difference and its interval: 41.0 points [36.0, 46.0]."""
    return f"{100 * row.estimate:.1f} points {format_interval(100 * row.low, 100 * row.high, '.1f')}"


def format_p_value(p: float) -> str:
    """Write a p-value: p < 0.001, p = 0.02; NaN is unknown."""
    if np.isnan(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def alarm_warnings(fired: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a warning for each defense with alarms.

    Args:
        fired: Names of the alarms that fired, by defense.
    """
    for defense, names in fired.items():
        if names:
            alarms = ", ".join(style.words(name) for name in names)
            yield f"WARNING: do not trust the results of {defense} until these alarms are resolved: {alarms}."


def robustness_sentences(
    table: pd.DataFrame, curve: Curve, eps_levels: float, null: str | None, fired: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield clean accuracy, false accusations and robust accuracy of each defense as a sentence.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        curve: Norm and domain.
        eps_levels: Radius in levels.
        null: The class of unaltered pictures, ``None`` if there is none.
        fired: Names of the alarms that fired, by defense.

    Raises:
        ValueError: That radius was not swept in that norm and domain.
    """
    changed = {
        "linf": f"no pixel value changes by more than {style.format_radius(eps_levels)}",
        "l2": f"the root-mean-square change is at most {style.format_radius(eps_levels)}",
    }[curve.norm]
    at_most = upper_bounds(table, curve)
    pictures = "" if curve.domain == "float" else f" ({style.DOMAINS[curve.domain]})"
    for defense in table["defense"].unique():
        key = {"defense": defense, **curve._asdict(), "attack": WORST}
        clean, robust = (single_row(table, metric="accuracy", eps_levels=eps, **key) for eps in (0.0, eps_levels))
        text = f"{defense}: {format_share(clean)} right on clean pictures"
        if null is not None:
            accused = single_row(table, metric="false_accusations", eps_levels=0.0, **key)
            if not np.isnan(accused.estimate):
                text += f", {format_share(accused)} of the {null} ones falsely accused"
        text += f", {'at most ' * (defense in at_most)}{format_share(robust)} under attack when {changed}{pictures}"
        if null is not None:
            share = single_row(table, metric="passes_as_pristine", eps_levels=eps_levels, **key)
            if not np.isnan(share.estimate):
                text += f"; {format_share(share)} of the pictures that are not {null} can then pass as {null}"
        if "collapsed" in fired[defense]:
            share = single_row(table, metric="clean_prediction_share", **key)
            text += f"; COLLAPSED: {100 * share.estimate:.0f}% of clean pictures get the same answer"
        yield text + "."


def is_significant(row: Any) -> bool:
    """Return whether the first of two defenses is significantly better; the row as for `comparison_sentence`."""
    return bool(row.p_holm < SIGNIFICANCE_LEVEL and row.low > 0)


def comparison_sentence(row: Any) -> str:
    """State which of two defenses is better, or that their difference is not significant.

    Args:
        row: Of :func:`~advforensics.statistics.comparisons.comparisons`.
    """
    where = "on clean pictures" if row.eps_levels == 0 else f"at {style.format_radius(row.eps_levels)}"
    if (row.norm, row.domain) != ("linf", "float"):
        where += f" ({Curve(row.norm, row.domain)})"
    patches, photographs = style.count(row.images, "patch"), style.count(row.photographs, "photograph")
    if np.isnan(row.p):
        return f"{row.first} and {row.second} cannot be compared {where}: only {patches} of {photographs}."
    # The interval is that of this comparison alone, and so is the first p; Holm's decides.
    corrected = f"{format_p_value(row.p_holm)} by Holm over {style.count(row.comparisons, 'comparison')}"
    facts = f"{format_p_value(row.p)} alone, {corrected}"
    facts += f", {photographs}, {patches}, {style.count(row.seeds, 'seed')}"
    if is_significant(row):
        text = f"{row.first} beats {row.second} by {format_difference(row)} {where} ({facts})"
    else:
        text = f"{row.first} and {row.second} do not differ significantly {where}: {format_difference(row)} ({facts})"
    if row.photographs < FEW_PHOTOGRAPHS:
        text += f"; {photographs} are too few for a conclusion"
    if is_significant(row) and row.seeds == 1:
        text += "; this holds for these trainings, others may differ"
    return text + "."
