"""Transfer: scores of adversarial examples made on one detector and tried on another, for every pair."""

import numpy as np
import pandas as pd

from advforensics.statistics.intervals import Bootstrap

CONTROL = "random signs"  # in place of a surrogate: random changes of the same size


def transfer_scores(samples: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Score every pair of surrogate and target at every radius in every domain.

    The metrics, as fractions:

    - ``robust_accuracy``: of the target, over all images; an image that it gets wrong when clean counts as wrong.
    - ``transfer_success``: of the images that surrogate and target both get right when clean, the share that the target
      now gets wrong. If the surrogate is the control: of the images that the target gets right when clean.
    - ``transfer_excess``: that share less the share that the control turns among the same images; a paired difference.

    Args:
        samples: What :func:`advforensics.transfer.transfer` writes as ``transfer.parquet``.
        resamples: Of the bootstrap over photographs; see `Bootstrap`.

    Returns:
        Columns ``surrogate``, ``target``, ``eps_levels``, ``domain``, ``metric``, ``estimate``, the 95% limits ``low``
        and ``high``, and the number of ``images`` and ``photographs``.
    """
    samples = samples.sort_values("sample_id", kind="stable")
    conditions = dict(list(samples.groupby(["surrogate", "target", "eps_levels", "domain"])))
    clean = {
        (target, domain): conditions[CONTROL, target, 0.0, domain]["correct"].to_numpy()
        for _, target, _, domain in conditions
    }
    groups = conditions[next(iter(conditions))]["group"].to_numpy()
    bootstrap = Bootstrap(groups, resamples=resamples)
    scores = []
    for (surrogate, target, eps_levels, domain), rows in conditions.items():
        target_right = clean[target, domain]
        both_right = target_right & clean.get((surrogate, domain), target_right)
        correct = rows["correct"].to_numpy()
        turned = both_right & ~correct
        ratios = {
            "robust_accuracy": (correct & target_right, np.ones_like(target_right)),
            "transfer_success": (turned, both_right),
        }
        if surrogate != CONTROL:
            turned_by_control = both_right & ~conditions[CONTROL, target, eps_levels, domain]["correct"].to_numpy()
            ratios["transfer_excess"] = (turned.astype(int) - turned_by_control.astype(int), both_right)
        key = {"surrogate": surrogate, "target": target, "eps_levels": eps_levels, "domain": domain}
        for metric, (numerator, denominator) in ratios.items():
            interval = bootstrap.ratio(numerator, denominator).interval()
            sizes = {"images": int(denominator.sum()), "photographs": len(set(groups[denominator.astype(bool)]))}
            scores.append({**key, "metric": metric, **vars(interval), **sizes})
    return pd.DataFrame(scores)
