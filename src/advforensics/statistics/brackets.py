"""Brackets: robust accuracy between a lower bound (certificates) and an upper bound (attacks)."""

import numpy as np
import pandas as pd

from advforensics.statistics.intervals import Bootstrap
from advforensics.statistics.outcomes import outcomes_by_defense
from advforensics.statistics.radii import image_radii

ATTACK, CERTIFICATE = "attack", "certificate"
SMOOTHING = "smoothing"  # part of the method's name; such a certificate is of the smoothed detector, not of this one
SMALLEST_RADIUS = 2.0**-10  # in levels


def brackets(samples: pd.DataFrame, certificates: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Return both bounds on robust accuracy to float pictures, over the images that were certified.

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`.
        certificates: Columns ``defense, seed, sample_id, norm, method, radius_levels, correct``. Up to
            ``radius_levels`` the answer provably stays the one on the clean image; ``correct`` is whether it is right.
        resamples: Of the bootstrap.

    Returns:
        One row per ``defense, norm, method, curve, eps_levels`` with ``estimate``, ``low``, ``high``, ``images``,
        ``photographs`` and ``seeds``; ``curve`` is `ATTACK` or `CERTIFICATE`. Radii are those of the sweep. Where
        certified radii are smaller, the smallest is halved repeatedly.

    Raises:
        ValueError: A certified norm or image is missing from the sweep in float.
    """
    rows = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        images = pd.MultiIndex.from_arrays([outcomes.seed, outcomes.sample])
        of_defense = certificates[certificates["defense"] == defense]
        for (norm, method), certified in of_defense.groupby(["norm", "method"]):
            conditions = outcomes.conditions
            swept = conditions.loc[(conditions["norm"] == norm) & (conditions["domain"] == "float"), "eps_levels"]
            index = images.get_indexer(pd.MultiIndex.from_frame(certified[["seed", "sample_id"]]))
            if swept.empty or (index < 0).any():
                raise ValueError(
                    f"{defense}: the certificate ({method}, {norm}) covers images or a norm not swept in float;"
                    " sweep and certify the same images"
                )
            eps = _radii(swept.unique(), certified["radius_levels"])
            certified_radius = certified["radius_levels"].where(certified["correct"], -1.0).to_numpy()
            bounds = {
                ATTACK: image_radii(outcomes, str(norm), "float")[index] > eps[:, None],
                CERTIFICATE: certified_radius >= eps[:, None],
            }
            group = outcomes.group[index]
            bootstrap = Bootstrap(group, outcomes.seed[index], resamples=resamples)
            sizes = {"seeds": certified["seed"].nunique(), "images": certified["sample_id"].nunique()}
            sizes["photographs"] = len(set(group))
            for curve, correct in bounds.items():
                key = {"defense": defense, "norm": norm, "method": method, "curve": curve, "eps_levels": eps}
                rows.append(pd.DataFrame({**key, **bootstrap.mean(correct).columns(), **sizes}))
    return pd.concat(rows, ignore_index=True)


def _radii(swept: "np.ndarray[tuple[int], np.dtype[np.float64]]", certified: "pd.Series[float]") -> np.ndarray:
    """Return the radii of the sweep, and the smallest halved down to the smallest certified (`SMALLEST_RADIUS`)."""
    smallest = swept[swept > 0].min()
    least = max(certified[certified > 0].min(), SMALLEST_RADIUS) if (certified > 0).any() else smallest
    halves = smallest * 0.5 ** np.arange(1, 1 + max(0, int(np.ceil(np.log2(smallest / least)))))
    return np.unique([*swept, *halves])
