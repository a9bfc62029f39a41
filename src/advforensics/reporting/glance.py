"""What a report says at a glance: for each defense one sentence, a traffic light, and the numbers behind them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from advforensics.reporting import style
from advforensics.reporting.findings import format_share, reported_radius
from advforensics.reporting.light import Light
from advforensics.reporting.selection import Curve, single_row, upper_bounds
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.recompressed import still_fooling

DELIVERED = ("png", "8bit", "float")  # what a forger can send, as near to a file as was swept
SAVED = 90  # JPEG quality at which forged pictures are tried again
LITTLE, MUCH = 0.5, 0.9  # shares of the clean accuracy that are left under attack
RULE = (
    "Red: an alarm fired, the detector is no better than chance, or less than half of its clean accuracy is left under"
    " this attack. Green: at least 90% of it is left, at the lower end of the interval, and the attacks knew the"
    " detector's gradients. Amber: between."
)


class Glance(NamedTuple):
    """A defense at a glance.

    Attributes:
        defense: Its name.
        light: How far it can be trusted.
        facts: The numbers with their intervals.
    """

    defense: str
    light: Light
    facts: str


def delivered_curve(table: pd.DataFrame) -> tuple[Curve, float] | None:
    """Return the norm, domain and radius of a glance: L∞, in files if they were swept, at 1 level or near it.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.

    Returns:
        ``None`` if L∞ was not swept for every defense.
    """
    worst = table[(table["attack"] == WORST) & (table["norm"] == "linf")]
    swept = worst.groupby("domain")["defense"].nunique()
    for domain in DELIVERED:
        if swept.get(domain) == table["defense"].nunique():
            return Curve("linf", domain), reported_radius(worst.loc[worst["domain"] == domain, "eps_levels"])
    return None


def glances(
    table: pd.DataFrame,
    classes: int,
    null: str | None,
    fired: Mapping[str, Sequence[str]],
    recompressed: Mapping[str, pd.DataFrame],
) -> list[Glance]:
    """Return each defense at a glance; none if L∞ was not swept.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        classes: How many classes there are.
        null: The class of unaltered pictures, ``None`` if there is none.
        fired: Names of the alarms that fired, by defense.
        recompressed: What is left of forged pictures, by defense; see :mod:`advforensics.statistics.recompressed`.
    """
    if (chosen := delivered_curve(table)) is None:
        return []
    curve, eps_levels = chosen
    at_most, found = upper_bounds(table, curve), []
    for defense in table["defense"].unique():
        key = {"defense": defense, **curve._asdict(), "attack": WORST}
        clean, robust = (single_row(table, metric="accuracy", eps_levels=eps, **key) for eps in (0.0, eps_levels))
        balanced = single_row(table, metric="balanced_accuracy", eps_levels=0.0, **key)
        claim = f"Right on {_percent(clean.estimate)} of clean pictures"
        facts = [f"clean {format_share(clean)}"]
        if null is not None:
            accused = single_row(table, metric="false_accusations", eps_levels=0.0, **key)
            if not np.isnan(accused.estimate):
                claim += f", and accuses {_percent(accused.estimate)} of the {null} ones falsely"
                facts.append(f"false accusations {format_share(accused)}")
        floats = " (in floats, which no file holds)" if curve.domain == "float" and eps_levels < 1 else ""
        claim += (
            f". A forger who changes no pixel value by more than {style.format_radius(eps_levels)}{floats} leaves"
            f" {'at most ' * (defense in at_most)}{_percent(robust.estimate)} right."
        )
        facts.append(f"{style.DOMAINS[curve.domain]} at {style.format_radius(eps_levels)} {format_share(robust)}")
        left = recompressed.get(defense)
        if left is not None and (outlived := still_fooling(left, eps_levels, SAVED)) is not None:
            share, number = outlived
            claim += f" Saved again as JPEG, {_percent(share.estimate)} of the forged pictures still fool it."
            facts.append(f"JPEG quality {SAVED}: {format_share(share)} of {number}")
        facts.append("no alarm" if not fired[defense] else style.count(len(fired[defense]), "alarm"))
        chance = bool(balanced.low <= 1 / classes)
        light = _light(claim, clean, robust, fired[defense], chance=chance, at_most=defense in at_most)
        found.append(Glance(str(defense), light, "; ".join(facts)))
    return found


def _light(claim: str, clean: Any, robust: Any, alarms: Sequence[str], *, chance: bool, at_most: bool) -> Light:
    left, low = (share / max(clean.estimate, 1e-9) for share in (robust.estimate, robust.low))
    if alarms:
        named = ", ".join(style.words(name) for name in alarms)
        return Light("red", f"Do not believe these numbers before the alarms are cleared: {named}. {claim}", RULE)
    if chance:
        return Light("red", f"No better than chance. {claim}", RULE)
    if left < LITTLE:
        return Light("red", f"Do not rely on it against a forger. {claim}", RULE)
    if low >= MUCH and not at_most:
        return Light("green", f"These attacks hardly change it. {claim}", RULE)
    return Light("amber", f"Rely on it with care. {claim}", RULE)


def _percent(share: float) -> str:
    return f"{100 * share + 1e-9:.0f}%"  # halves upwards, as a reader of the interval would
