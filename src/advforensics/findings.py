"""What the numbers say, in sentences made from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from advforensics import style
from advforensics.robustness.alarms import FEW_PHOTOGRAPHS
from advforensics.robustness.cube import WORST

LEVEL = 0.05  # of significance


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
    """Write a share and its interval: 41.0% [36.0, 46.0]."""
    return f"{100 * row.estimate:.1f}% [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def points(row: Any) -> str:
    """Write a difference and its interval: 41.0 points [36.0, 46.0]."""
    return f"{100 * row.estimate:.1f} points [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def significance(p: float) -> str:
    """Write a p-value: p < 0.001, p = 0.02."""
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


def descriptions(table: pd.DataFrame, eps_levels: float, null: str | None) -> Iterator[str]:
    """Yield what an attack leaves of each defense.

    Args:
        table: From :func:`~advforensics.robustness.curves.curves`.
        eps_levels: Radius in levels.
        null: The class that means that nothing is wrong with a picture, ``None`` where there is none.

    Raises:
        ValueError: If that radius was not swept in float L∞.
    """
    for defense in table["defense"].unique():
        at = {"defense": defense, "norm": "linf", "domain": "float", "attack": WORST}
        clean, robust = (point(table, metric="accuracy", eps_levels=eps, **at) for eps in (0.0, eps_levels))
        share = point(table, metric="clean_prediction_share", **at)
        text = (
            f"{defense}: {percent(clean)} right on clean pictures, {percent(robust)} when no pixel is changed by more"
            f" than {radius(eps_levels)}"
        )
        if null is not None:
            passes = point(table, metric="passes_as_pristine", eps_levels=eps_levels, **at)
            if not np.isnan(passes.estimate):
                text += f"; {percent(passes)} of the pictures that are not {null} can then be made to pass as {null}"
        if share.estimate > 2 / 3:  # balanced classes give each answer its share
            text += f"; COLLAPSED: it gives one answer to {100 * share.estimate:.0f}% of clean pictures"
        yield text + "."


def told_apart(row: Any) -> bool:
    """Tell whether the first of two defenses is the better beyond chance; the row as for :func:`statement`."""
    return bool(row.p_holm < LEVEL and row.low > 0)


def statement(row: Any) -> str:
    """Say which of two defenses is the better, or that they cannot be told apart.

    Args:
        row: Of :func:`~advforensics.robustness.comparisons.comparisons`.
    """
    kind = "" if (row.norm, row.domain) == ("linf", "float") else f" ({row.norm}, {row.domain})"
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
