"""Radii: the radius at which each image falls, the median of these, and the area under the curve."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.statistics.intervals import Bootstrap, Floats, Replicates
from advforensics.statistics.outcomes import DISTORTION_IN_NORM, POSTPROCESSING, WORST, Outcomes, outcomes_by_defense

COLUMNS = [
    *("defense", "norm", "domain", "metric", "label", "range_levels"),
    *("estimate", "low", "high", "images", "photographs", "seeds"),
]
ALL = -1  # in the column ``label``: images of all classes


def radii(samples: pd.DataFrame, area_levels: float = 2.0, resamples: int = 2000) -> pd.DataFrame:
    """Summarise each curve of robust accuracy (worst case over attacks, without post-processing).

    The metrics:

    - ``area``: area under the curve from 0 to ``range_levels`` by the trapezoidal rule, divided by that range. It is
      the mean robust accuracy over ε drawn uniformly from the range, in [0, 1].
    - ``median_radius_levels``: median of the smallest radius at which an image is known to fall, in levels, over images
      of class ``label`` or of all classes (`ALL`). 0 for an image wrong when clean; ``range_levels`` for one that
      stands at every radius swept, so a median of ``range_levels`` means that or more. The radius is the distortion of
      the adversarial example (see `DISTORTION_IN_NORM`) if that is smaller than the radius swept. In the domain
      ``jpeg``, where the ball holds before compression, it is the radius swept.

    Args:
        samples: As for `curves`.
        area_levels: Where the area ends, in levels; if that was not swept, at the largest radius swept below it.
        resamples: Of the bootstrap over photographs and training seeds; see `Bootstrap`.

    Returns:
        One row per ``defense, norm, domain, metric, label`` with ``estimate`` and 95% limits ``low`` and ``high``.

    Raises:
        ValueError: As `curves`; or no radius up to ``area_levels`` was swept.
    """
    parts = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        bootstrap = Bootstrap(outcomes.group, outcomes.seed, resamples=resamples)
        worst = outcomes.conditions[outcomes.conditions["attack"] == WORST]
        for (norm, domain), conditions in worst.groupby(["norm", "domain"], observed=True):
            curve = {"defense": defense, "norm": norm, "domain": domain, "seeds": len(outcomes.rows_by_seed())}
            conditions = conditions.sort_values("eps_levels")
            eps, correct = conditions["eps_levels"].to_numpy(), outcomes.correct[conditions.index]
            end = eps[eps <= area_levels].max()
            if end == 0:
                raise ValueError(
                    f"area_levels: {defense}, {norm}, {domain}: no radius up to {area_levels:g} levels was swept: {eps}"
                )
            in_range = eps <= end
            area = bootstrap.mean(np.trapezoid(correct[in_range].astype(float), eps[in_range], axis=0) / end)
            every = np.ones(len(outcomes.label), bool)
            parts.append(_row(outcomes, area, every, metric="area", label=ALL, range_levels=end, **curve))
            radius = image_radii(outcomes, str(norm), str(domain))
            for label in (ALL, *np.unique(outcomes.label)):
                chosen = (outcomes.label == label) | (label == ALL)
                median = bootstrap.median(np.minimum(radius, eps.max()), chosen)
                of_class = {"metric": "median_radius_levels", "label": label, "range_levels": eps.max()}
                parts.append(_row(outcomes, median, chosen, **of_class, **curve))
    return pd.DataFrame(parts)[COLUMNS]


def image_radii(outcomes: Outcomes, norm: str, domain: str) -> Floats:
    """Return the smallest radius at which each image is known to fall, ``(rows,)``; infinite where it stands."""
    conditions = outcomes.conditions.iloc[: outcomes.attack_conditions]
    conditions = conditions[(conditions["norm"] == norm) & (conditions["domain"] == domain)]
    conditions = conditions[conditions["knowledge"] != POSTPROCESSING]
    eps = np.broadcast_to(conditions["eps_levels"].to_numpy()[:, None], (len(conditions), len(outcomes.label)))
    if domain != "jpeg":
        eps = np.fmin(eps, outcomes.distortion[DISTORTION_IN_NORM[norm]][conditions.index])
    return np.asarray(np.where(outcomes.correct[conditions.index], np.inf, eps).min(axis=0))


def _row(outcomes: Outcomes, score: Replicates, chosen: NDArray[np.bool_], **facts: object) -> dict[str, object]:
    sizes = {"images": len(set(outcomes.sample[chosen])), "photographs": len(set(outcomes.group[chosen]))}
    return {**facts, **vars(score.interval()), **sizes}
