"""What the numbers say, in sentences made from them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from advforensics.reporting import style
from advforensics.statistics.intervals import FEW_PHOTOGRAPHS, format_interval
from advforensics.statistics.outcomes import WORST

LEVEL = 0.05  # of significance


Curve = tuple[str, str]  # norm, domain


def reported(table: pd.DataFrame) -> Curve:
    """Return the norm and domain that a report speaks of: L∞ in float, or the first in the order of :mod:`.style`.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.

    Raises:
        ValueError: If there is none in which every defense was swept.
    """
    swept = table[table["attack"] == WORST].groupby(["norm", "domain"], observed=True)["defense"].nunique()
    everywhere = swept.index[swept == table["defense"].nunique()]
    for curve in product(style.NORMS, style.DOMAINS):
        if curve in everywhere:
            return curve
    raise ValueError(
        f"no norm and domain in which all of {list(table['defense'].unique())} were swept: sweep all in one, or report"
        " them apart"
    )


def curve_name(curve: Curve) -> str:
    """Write a norm and domain: L∞, float pictures."""
    norm, domain = curve
    return f"{style.NORMS[norm]}, {style.DOMAINS[domain]}"


def point(table: pd.DataFrame, **wanted: Any) -> Any:
    """Return the row of a tidy table that the columns' wanted values single out.

    Raises:
        ValueError: If there is not exactly one.
    """
    rows = table
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    if len(rows) != 1:
        raise ValueError(f"the sweeps hold {len(rows)} points at {wanted}; report one of the radii that were swept")
    return next(rows.itertuples(index=False))


def percent(row: Any) -> str:
    """Write a share and its interval: 41.0% [36.0, 46.0]; a share of nothing is unknown."""
    if np.isnan(row.estimate):
        return "unknown"
    return f"{100 * row.estimate:.1f}% {format_interval(100 * row.low, 100 * row.high, '.1f')}"


def points(row: Any) -> str:
    """Write a difference and its interval: 41.0 points [36.0, 46.0]."""
    return f"{100 * row.estimate:.1f} points {format_interval(100 * row.low, 100 * row.high, '.1f')}"


def significance(p: float) -> str:
    """Write a p-value: p < 0.001, p = 0.02; NaN is unknown."""
    if np.isnan(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def warnings(fired: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a warning for each defense whose sweep speaks against itself.

    Args:
        fired: Names of the alarms that fired, by defense.
    """
    for defense, names in fired.items():
        if names:
            alarms = ", ".join(style.words(name) for name in names)
            yield f"WARNING: do not trust the curve of {defense} before its alarms are cleared: {alarms}."


def doubts(audit: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for everything that speaks against the data.

    Args:
        audit: The content of ``audit.json``.
    """
    for warning in audit["warnings"]:
        yield f"WARNING: the data: {warning}."


def descriptions(
    table: pd.DataFrame, curve: Curve, eps_levels: float, null: str | None, fired: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield what an attack leaves of each defense.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        curve: In which norm and domain.
        eps_levels: Radius in levels.
        null: The class that means that nothing is wrong with a picture, ``None`` where there is none.
        fired: Names of the alarms that fired, by defense.

    Raises:
        ValueError: If that radius was not swept in that norm and domain.
    """
    norm, domain = curve
    changed = {
        "linf": f"no pixel is changed by more than {radius(eps_levels)}",
        "l2": f"pixels are changed by no more than {radius(eps_levels)} (root mean square)",
    }[norm]
    pictures = "" if domain == "float" else f", {style.DOMAINS[domain]}"
    for defense in table["defense"].unique():
        at = {"defense": defense, "norm": norm, "domain": domain, "attack": WORST}
        clean, robust = (point(table, metric="accuracy", eps_levels=eps, **at) for eps in (0.0, eps_levels))
        text = f"{defense}: {percent(clean)} right on clean pictures, {percent(robust)} when {changed}{pictures}"
        if null is not None:
            passes = point(table, metric="passes_as_pristine", eps_levels=eps_levels, **at)
            if not np.isnan(passes.estimate):
                text += f"; {percent(passes)} of the pictures that are not {null} can then be made to pass as {null}"
        if "collapsed" in fired[defense]:
            share = point(table, metric="clean_prediction_share", **at).estimate
            text += f"; COLLAPSED: the most frequent answer goes to {100 * share:.0f}% of clean pictures"
        yield text + "."


def told_apart(row: Any) -> bool:
    """Tell whether the first of two defenses is the better beyond chance; the row as for :func:`statement`."""
    return bool(row.p_holm < LEVEL and row.low > 0)


def statement(row: Any) -> str:
    """Say which of two defenses is the better, or that they cannot be told apart.

    Args:
        row: Of :func:`~advforensics.statistics.comparisons.comparisons`.
    """
    kind = "" if (row.norm, row.domain) == ("linf", "float") else f" ({curve_name((row.norm, row.domain))})"
    where = ("on clean pictures" if row.eps_levels == 0 else f"at {radius(row.eps_levels)}") + kind
    images, photographs = style.many(row.images, "patch"), style.many(row.photographs, "photograph")
    if np.isnan(row.p):
        return f"{row.first} and {row.second} cannot be compared {where}: {images} of {photographs} only."
    facts = [
        f"{significance(row.p_holm)}, Holm over {style.many(row.comparisons, 'comparison')}",
        f"{photographs}, {images}, {style.many(row.seeds, 'seed')}",
    ]
    if told_apart(row):
        text = f"{row.first} beats {row.second} by {points(row)} {where} ({', '.join(facts)})"
    else:
        text = f"{row.first} and {row.second} cannot be told apart {where}: {points(row)} ({', '.join(facts)})"
    if row.photographs < FEW_PHOTOGRAPHS:
        text += f"; {photographs} are too few to conclude from"
    if told_apart(row) and row.seeds == 1:
        text += "; of these trainings: others may differ"
    return text + "."


def radius(eps_levels: float) -> str:
    """Write a radius: 1/2 level, 2 levels."""
    return f"{style.fraction(eps_levels)} level{'s' if eps_levels > 1 else ''}"
