"""Rows of a tidy table by the values of its columns."""

from typing import Any, NamedTuple

import pandas as pd

from advforensics.reporting import style
from advforensics.statistics.outcomes import POSTPROCESSING, WORST


class Curve(NamedTuple):
    """What identifies a curve of robust accuracy: ``linf`` or ``l2``, and ``float``, ``8bit``, ``png`` or ``jpeg``."""

    norm: str
    domain: str

    def __str__(self) -> str:
        """Write it for a reader: L∞, float pictures."""
        return f"{style.NORMS[self.norm]}, {style.DOMAINS[self.domain]}"


def select(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Return the rows that have all of these values.

    Raises:
        ValueError: There is none.
    """
    rows = table[(table[list(values)] == list(values.values())).all(axis=1)]
    if rows.empty:
        raise ValueError(f"there are no results for {values}; run `advforensics sweep` or `certify` for them first")
    return rows


def single_row(table: pd.DataFrame, **values: Any) -> Any:
    """Return the one row that has all of these values, as a named tuple.

    Raises:
        ValueError: There is not exactly one.
    """
    rows = table[(table[list(values)] == list(values.values())).all(axis=1)]
    if len(rows) != 1:
        raise ValueError(
            f"eps_levels: the sweeps have {len(rows)} results for {values}; give one of the radii that were swept"
        )
    return next(rows.itertuples(index=False))


def upper_bounds(curves: pd.DataFrame, curve: Curve) -> set[str]:
    """Return the defenses that no attack with gradients of the detector met: their curves are upper bounds.

    Args:
        curves: From `advforensics.statistics.curves.curves`.
        curve: Norm and domain.
    """
    rows = curves[(curves["norm"] == curve.norm) & (curves["domain"] == curve.domain)]
    attacks = rows[(rows["attack"] != WORST) & (rows["knowledge"] != POSTPROCESSING)]
    seen = attacks["knowledge"].eq("white box").groupby(attacks["defense"]).any()
    return set(seen.index[~seen])
