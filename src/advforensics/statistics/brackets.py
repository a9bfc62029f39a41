"""Robust accuracy from both sides: what attacks leave is an upper bound, what is certified a lower one."""

import numpy as np
import pandas as pd

from advforensics.statistics.intervals import Bootstrap
from advforensics.statistics.outcomes import outcomes_by_defense
from advforensics.statistics.radii import image_radii

ATTACK, CERTIFICATE = "attack", "certificate"
SMOOTHING = "smoothing"  # in a method's name: it certifies the smoothed detector, which is another one
FINEST = 2.0**-10  # of a level: the smallest radius worth a point


def brackets(samples: pd.DataFrame, certificates: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
    """Return both bounds on robust accuracy to float pictures, over the images that were certified.

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`.
        certificates: Columns ``defense, seed, sample_id, norm, method, radius_levels, correct``: the radius up to which
            it is proven that the image is given the class it is given when clean, and whether that class is right.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Returns:
        One row per ``defense, norm, method, curve, eps_levels`` with ``estimate``, ``low``, ``high``, ``images``,
        ``photographs`` and ``seeds``; ``curve`` is `ATTACK` or `CERTIFICATE`. Radii are those swept and, where the
        certificate reaches less far, halves of the smallest.

    Raises:
        ValueError: A certified norm was not swept in float, or an image not at all.
    """
    rows = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        units = pd.MultiIndex.from_arrays([outcomes.seed, outcomes.sample])
        own = certificates[certificates["defense"] == defense]
        for (norm, method), certified in own.groupby(["norm", "method"]):
            swept = outcomes.cells[(outcomes.cells["norm"] == norm) & (outcomes.cells["domain"] == "float")]
            at = units.get_indexer(pd.MultiIndex.from_frame(certified[["seed", "sample_id"]]))
            if swept.empty or (at < 0).any():
                raise ValueError(
                    f"{defense}: the certificate by {method} is of images or a norm ({norm}) that were not swept in"
                    " float: sweep and certify the same images."
                )
            eps = _grid(swept["eps_levels"].unique(), certified["radius_levels"])
            proven = certified["radius_levels"].where(certified["correct"], -1.0).to_numpy()
            curves = {
                ATTACK: image_radii(outcomes, str(norm), "float")[at] > eps[:, None],
                CERTIFICATE: proven >= eps[:, None],
            }
            bootstrap = Bootstrap(outcomes.group[at], outcomes.seed[at], resamples=resamples, seed=seed)
            rests_on = {"images": certified["sample_id"].nunique(), "photographs": len(set(outcomes.group[at]))}
            for curve, standing in curves.items():
                score = bootstrap.mean(standing)
                low, high = score.limits()
                named = {"defense": defense, "norm": norm, "method": method, "curve": curve, "eps_levels": eps}
                found = {"estimate": score.estimate, "low": low, "high": high, "seeds": certified["seed"].nunique()}
                rows.append(pd.DataFrame({**named, **found, **rests_on}))
    return pd.concat(rows, ignore_index=True)


def _grid(swept: "np.ndarray[tuple[int], np.dtype[np.float64]]", radii: "pd.Series[float]") -> np.ndarray:
    """Return the radii swept and halves of the smallest, down to the smallest certified, or `FINEST`."""
    smallest = swept[swept > 0].min()
    least = max(radii[radii > 0].min(), FINEST) if (radii > 0).any() else smallest
    halves = smallest * 0.5 ** np.arange(1, 1 + max(0, int(np.ceil(np.log2(smallest / least)))))
    return np.unique([*swept, *halves])
