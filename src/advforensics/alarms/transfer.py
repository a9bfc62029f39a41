"""An alarm on transfer: pictures made on another detector do more than those made on the target itself."""

import pandas as pd

from advforensics.alarms.alarm import Alarm, beyond_chance
from advforensics.statistics.transfer import CONTROL

POINT = ["target", "eps_levels", "domain"]


def transfer_stronger(samples: pd.DataFrame) -> Alarm:
    """Tell whether more images of a target fall to pictures made on another detector than to those made on itself.

    Args:
        samples: As for :func:`~advforensics.statistics.transfer.transfer_scores`.
    """
    clean = samples[(samples["eps_levels"] == 0) & (samples["surrogate"] == CONTROL) & samples["correct"]]
    right = clean[["target", "domain", "sample_id"]]
    attacked = samples[(samples["eps_levels"] > 0) & (samples["surrogate"] != CONTROL)].merge(right)
    fell = attacked.assign(fell=~attacked["correct"]).groupby([*POINT, "surrogate"], as_index=False)["fell"].sum()
    own = fell[fell["surrogate"] == fell["target"]].set_index(POINT)["fell"].rename("own")
    others = fell[fell["surrogate"] != fell["target"]].join(own, on=POINT)
    more = others["fell"] - others["own"]
    images, worst = samples["sample_id"].nunique(), others.loc[more.idxmax()]
    return Alarm(
        "transfer_stronger",
        beyond_chance(int(more.max()), images),
        f"{worst['target']}, {worst['eps_levels']:g} levels, {worst['domain']}: of {images} images {worst['fell']} fall"
        f" to pictures made on {worst['surrogate']}, and {worst['own']} to those made on itself",
        "An attacker who sees the detector's own gradients should do at least as well as one who does not, so they"
        " mislead, or the attack is too weak (Athalye et al. 2018, 1802.00420). Sweep that detector with ensemble=paper"
        " and read its alarms.",
    )
