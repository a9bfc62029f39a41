"""Which attack felled which share of the images."""

import numpy as np
import pandas as pd

from advforensics.statistics.outcomes import POSTPROCESSING

STANDS = "stands"
CLEAN = "clean"  # wrong from the start
CURVE = ["defense", "norm", "domain", "eps_levels"]


def attack_shares(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the share of images that fell to each attack, by defense, norm, domain and radius; post-processing apart.

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`; attacks in the order of the cascade.

    Returns:
        One row per ``defense, norm, domain, eps_levels, fell_to`` with ``share``: an attack, `CLEAN` or `STANDS`.
        Attacks are in the order of the cascade; shares of a radius add up to 1. ``images``, ``photographs`` and
        ``seeds`` tell what they rest on.
    """
    rows = samples[samples["knowledge"] != POSTPROCESSING]
    order = list(dict.fromkeys([STANDS, CLEAN, *_cascade(rows), *rows["fell_to"].unique()]))
    # An image fell to the first attack after which it is wrong, or to what that attack says felled it before.
    rows = rows.sort_values("correct", kind="stable").drop_duplicates([*CURVE, "seed", "sample_id"])
    named = np.where(rows["fell_to"] == "", rows["attack"], rows["fell_to"])
    rows = rows.assign(fell_to=np.where(rows["correct"], STANDS, named))
    shares = rows.groupby(CURVE, observed=True)["fell_to"].value_counts(normalize=True).rename("share").reset_index()
    # What nothing fell to at a radius is there with 0, so that layers can be stacked.
    full = shares.pivot_table(index=CURVE, columns="fell_to", values="share", fill_value=0.0)
    full = full[sorted(full, key=lambda name: order.index(str(name)))]
    counts = {"images": "sample_id", "photographs": "group", "seeds": "seed"}
    per_defense = rows.groupby("defense", observed=True)
    facts = pd.DataFrame({name: per_defense[column].nunique() for name, column in counts.items()})
    tidy = full.melt(ignore_index=False, value_name="share").reset_index()
    return tidy.merge(facts, left_on="defense", right_index=True)


def _cascade(rows: pd.DataFrame) -> list[str]:
    """Return the attacks from first to last, also those that only some norms and domains have."""
    of_each = rows[["norm", "domain", "attack"]].drop_duplicates().astype(str)
    place = of_each.groupby(["norm", "domain"]).cumcount()
    return list(place.groupby(of_each["attack"], sort=False).max().sort_values(kind="stable").index)
