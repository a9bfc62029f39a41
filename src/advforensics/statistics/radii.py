"""How far each image can be trusted: the radius at which it falls, its median, and the area under the curve."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.statistics.intervals import Bootstrap, Floats, Replicates
from advforensics.statistics.outcomes import POSTPROCESSING, SIZES, WORST, Outcomes, outcomes_by_defense

COLUMNS = [
    *("defense", "norm", "domain", "metric", "label", "range_levels"),
    *("estimate", "low", "high", "images", "photographs", "seeds"),
]
ALL = -1  # in the column ``label``: images of all classes


def radii(samples: pd.DataFrame, area_levels: float = 2.0, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
    """Summarise each curve of robust accuracy (worst case over attacks, post-processing apart).

    The metrics:

    - ``area``: area under the curve from 0 to ``range_levels``, by trapezoids, over that range: the mean robust
      accuracy over ε drawn evenly from it, in [0, 1].
    - ``median_radius_levels``: median over the images of ``label``, or over all (`ALL`), of the smallest radius known
      to turn the image, in levels. 0 for an image wrong when clean; ``range_levels`` for one that stands at every
      radius swept, so that a median of ``range_levels`` means that or more. Where the table tells the size of a change
      in the ball's own norm (see `SIZES`; not in the domain ``jpeg``, where the ball holds before compression) the
      radius is that of the picture that felled the image, else the grid's.

    Args:
        samples: As for `curves`.
        area_levels: Where the area ends, in levels; where that was not swept, at the largest radius swept below it.
        seed: Of the bootstrap over photographs and training seeds; see `Bootstrap`.
        resamples: Of the bootstrap.

    Returns:
        One row per ``defense, norm, domain, metric, label`` with ``estimate`` and 95% limits ``low`` and ``high``.

    Raises:
        ValueError: As `curves`; or no radius up to ``area_levels`` was swept.
    """
    parts = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        bootstrap = Bootstrap(outcomes.group, outcomes.seed, resamples=resamples, seed=seed)
        worst = outcomes.cells[outcomes.cells["attack"] == WORST]
        for (norm, domain), cells in worst.groupby(["norm", "domain"], observed=True):
            curve = {"defense": defense, "norm": norm, "domain": domain, "seeds": len(outcomes.runs())}
            cells = cells.sort_values("eps_levels")
            eps, standing = cells["eps_levels"].to_numpy(), outcomes.correct[cells.index]
            end = eps[eps <= area_levels].max()
            if end == 0:
                raise ValueError(
                    f"{defense}, {norm}, {domain}: no radius up to {area_levels:g} levels was swept: {eps}"
                )
            area = bootstrap.mean(_mean_height(eps[eps <= end], standing[eps <= end]))
            parts.append(
                _row(outcomes, area, np.ones(len(outcomes.label), bool), metric="area", range_levels=end, **curve)
            )
            radius = image_radii(outcomes, str(norm), str(domain))
            for label in (ALL, *np.unique(outcomes.label)):
                chosen = (outcomes.label == label) | (label == ALL)
                median = bootstrap.median(np.minimum(radius, eps.max()), chosen)
                of_class = {"metric": "median_radius_levels", "label": label, "range_levels": eps.max()}
                parts.append(_row(outcomes, median, chosen, **of_class, **curve))
    return pd.DataFrame(parts)[COLUMNS]


def _mean_height(eps: Floats, standing: NDArray[np.bool_]) -> Floats:
    """Return each image's own area under its curve of 1 and 0, over the range, shape ``(rows,)``."""
    return np.asarray(np.trapezoid(standing.astype(float), eps, axis=0) / eps[-1])


def image_radii(outcomes: Outcomes, norm: str, domain: str) -> Floats:
    """Return the smallest radius known to turn each image, ``(rows,)``; infinite where none is."""
    cells = outcomes.cells.iloc[: outcomes.attacked]
    cells = cells[(cells["norm"] == norm) & (cells["domain"] == domain) & (cells["knowledge"] != POSTPROCESSING)]
    eps = np.broadcast_to(cells["eps_levels"].to_numpy()[:, None], (len(cells), len(outcomes.label)))
    if domain != "jpeg":
        eps = np.fmin(eps, outcomes.distortion[SIZES[norm]][cells.index])
    return np.asarray(np.where(outcomes.correct[cells.index], np.inf, eps).min(axis=0))


def _row(outcomes: Outcomes, score: Replicates, chosen: NDArray[np.bool_], **facts: object) -> dict[str, object]:
    rests_on = {"images": len(set(outcomes.sample[chosen])), "photographs": len(set(outcomes.group[chosen]))}
    return {"label": ALL, **facts, **vars(score.interval()), **rests_on}
