"""What pictures made on one detector do to another: scores of every pair."""

import numpy as np
import pandas as pd

from advforensics.statistics.intervals import Bootstrap

CONTROL = "random signs"  # in place of a surrogate: changes of the same size that attack nothing


def matrix(samples: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Score every pair of surrogate and target at every radius in every domain.

    The metrics, as fractions:

    - ``robust_accuracy``: of the target, over all images; an image it gets wrong when clean counts as wrong.
    - ``transfer_success``: of the images that surrogate and target both get right when clean, the share that the
      target gets wrong now. With the control as surrogate: of those that the target gets right.
    - ``transfer_excess``: by how much that share exceeds what the control does to the same images; paired.

    Args:
        samples: What :func:`advforensics.transfer.transfer` writes as ``transfer.parquet``.
        resamples: Of the bootstrap over photographs; see `Bootstrap`.
        seed: Of the bootstrap.

    Returns:
        Columns ``surrogate``, ``target``, ``eps_levels``, ``domain``, ``metric``, ``estimate``, the 95% limits ``low``
        and ``high``, and on how many ``images`` and ``photographs`` it rests.
    """
    samples = samples.sort_values("sample_id", kind="stable")
    cells = dict(list(samples.groupby(["surrogate", "target", "eps_levels", "domain"])))
    clean = {
        (target, domain): cells[CONTROL, target, 0.0, domain]["correct"].to_numpy() for _, target, _, domain in cells
    }
    groups = cells[next(iter(cells))]["group"].to_numpy()
    bootstrap = Bootstrap(groups, resamples=resamples, seed=seed)
    found = []
    for (surrogate, target, eps_levels, domain), rows in cells.items():
        right = clean[target, domain]
        both = right & clean.get((surrogate, domain), right)
        correct = rows["correct"].to_numpy()
        turned = both & ~correct
        scores = {
            "robust_accuracy": (correct & right, np.ones_like(right)),
            "transfer_success": (turned, both),
        }
        if surrogate != CONTROL:
            by_control = both & ~cells[CONTROL, target, eps_levels, domain]["correct"].to_numpy()
            scores["transfer_excess"] = (turned.astype(int) - by_control.astype(int), both)
        key = {"surrogate": surrogate, "target": target, "eps_levels": eps_levels, "domain": domain}
        for metric, (numerator, denominator) in scores.items():
            interval = bootstrap.ratio(numerator, denominator).interval()
            rests_on = {"images": int(denominator.sum()), "photographs": len(set(groups[denominator.astype(bool)]))}
            found.append({**key, "metric": metric, **vars(interval), **rests_on})
    return pd.DataFrame(found)
