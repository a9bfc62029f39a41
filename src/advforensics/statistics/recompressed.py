"""The share of forged pictures that still fool a detector once they are saved again as JPEG.

``recompressed.csv`` has a row for each picture that fell and each quality: ``sample_id``, ``group``, ``label``,
``fell_at_levels`` (the radius), ``quality``, and the classes that the detector gives the ``original`` and the
``forged`` picture once they are saved.
"""

import pandas as pd

from advforensics.statistics.intervals import Bootstrap, Interval

COLUMNS = ["sample_id", "group", "label", "fell_at_levels", "quality", "original", "forged"]


def still_fooling(table: pd.DataFrame, eps_levels: float, quality: int) -> tuple[Interval, int] | None:
    """Return the share of forged pictures that outlive compression, and of how many.

    Those count that fell at a radius or below and whose original is still right once it is saved.

    Returns:
        ``None`` if there is none.
    """
    rows = table[(table["fell_at_levels"] <= eps_levels + 1e-6) & (table["quality"] == quality)]
    rows = rows[rows["original"] == rows["label"]]
    if rows.empty:
        return None
    return Bootstrap(rows["group"]).mean(rows["forged"] != rows["label"]).interval(), len(rows)
