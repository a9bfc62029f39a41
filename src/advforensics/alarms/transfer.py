"""A reason not to believe a sweep that other detectors give: pictures made on them do more than its own."""

import pandas as pd

from advforensics.alarms.alarm import Alarm, beyond_chance
from advforensics.statistics.transfer import CONTROL

TRIED = ["target", "eps_levels", "domain"]


def transfer_stronger(samples: pd.DataFrame) -> Alarm:
    """Tell whether pictures made on another detector turn more images of a target than those made on itself.

    Args:
        samples: As for :func:`matrix`.
    """
    clean = samples[(samples["eps_levels"] == 0) & (samples["surrogate"] == CONTROL) & samples["correct"]]
    right = clean[["target", "domain", "sample_id"]]
    attacked = samples[(samples["eps_levels"] > 0) & (samples["surrogate"] != CONTROL)].merge(right)
    turned = attacked.assign(turned=~attacked["correct"]).groupby([*TRIED, "surrogate"], as_index=False)["turned"].sum()
    own = turned[turned["surrogate"] == turned["target"]].set_index(TRIED)["turned"].rename("own")
    others = turned[turned["surrogate"] != turned["target"]].join(own, on=TRIED)
    more = others["turned"] - others["own"]
    images, worst = samples["sample_id"].nunique(), others.loc[more.idxmax()]
    return Alarm(
        "transfer_stronger",
        beyond_chance(int(more.max()), images),
        f"{worst['target']}, {worst['eps_levels']:g} levels, {worst['domain']}: of {images} images"
        f" {worst['turned']} fall to pictures made on {worst['surrogate']}, {worst['own']} to those made on itself",
        "Whoever sees a detector's own gradients should do at least as well as one who does not: they mislead, or the"
        " attack is too weak (Athalye et al. 2018, 1802.00420). Sweep that detector with ensemble=paper and read its"
        " alarms.",
    )
