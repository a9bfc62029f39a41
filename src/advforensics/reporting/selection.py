"""Rows of a tidy table by the values of its columns."""

from typing import Any

import pandas as pd


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
