"""Attack shares: which share of the images fell to which attack."""

import numpy as np
import pandas as pd

from advforensics.statistics.outcomes import POSTPROCESSING, SIZES

STANDS = "stands"
CLEAN = "clean"  # wrong on the clean picture
CURVE = ["defense", "norm", "domain", "eps_levels"]


def attack_shares(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the share of images that fell to each attack, by defense, norm, domain and radius.

    Post-processing is left out.

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`; attacks in the order of the cascade.

    Returns:
        One row per ``defense, norm, domain, eps_levels, fell_to`` with ``share``. ``fell_to`` is an attack, `CLEAN` or
        `STANDS`; attacks are in the order of the cascade. The shares of a radius add up to 1. ``images``,
        ``photographs`` and ``seeds`` give the sample size.
    """
    rows = samples[samples["knowledge"] != POSTPROCESSING]
    order = list(dict.fromkeys([STANDS, CLEAN, *_cascade_order(rows), *rows["fell_to"].unique()]))
    # An image counts for the first attack after which it is wrong, or for the earlier one that this row names.
    rows = rows.sort_values("correct", kind="stable").drop_duplicates([*CURVE, "seed", "sample_id"])
    felled_by = np.where(rows["fell_to"] == "", rows["attack"], rows["fell_to"])
    rows = rows.assign(fell_to=np.where(rows["correct"], STANDS, felled_by))
    shares = rows.groupby(CURVE, observed=True)["fell_to"].value_counts(normalize=True).rename("share").reset_index()
    # An attack that felled no image at a radius gets a row with 0 there, so that a figure can stack the shares.
    full = shares.pivot_table(index=CURVE, columns="fell_to", values="share", fill_value=0.0)
    full = full[sorted(full, key=lambda name: order.index(str(name)))]
    sizes = rows.groupby("defense", observed=True)[list(SIZES)].nunique().rename(columns=SIZES)
    return full.melt(ignore_index=False, value_name="share").reset_index().merge(sizes, on="defense")


def _cascade_order(rows: pd.DataFrame) -> list[str]:
    """Return the attacks from first to last, including those that only some norms and domains have."""
    attacks = rows[["norm", "domain", "attack"]].drop_duplicates().astype(str)
    position = attacks.groupby(["norm", "domain"]).cumcount()
    return list(position.groupby(attacks["attack"], sort=False).max().sort_values(kind="stable").index)
