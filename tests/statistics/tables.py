"""Synthetic sample tables for tests."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

STRENGTH = {"fgsm": 1.0, "pgd": 2.0, "apgd": 2.2, "square": 1.2, "noise": 0.1, "pgd_l2": 2.0, "postprocessing": 0.05}
WEAKNESS = {"baseline": 3.0, "gradient_regularized": 1.2, "adversarial_fusion": 0.6, "regularized_fusion": 0.5}
KNOWLEDGE = {"square": "black box", "noise": "black box", "postprocessing": "postprocessing"}
PIXELS = 1024
RUN = {"task": "manipulation", "detector": "constrained", "checkpoint": "0" * 64, "commit": "0" * 40}
ALARMS = ("collapsed", "few_photographs", "vanishing_gradients")


def sample_table(
    photographs: int = 12,
    patches: int = 6,
    classes: int = 3,
    attacks: Sequence[str] = ("fgsm", "pgd"),
    eps: Sequence[float] = (0, 0.5, 1, 2),
    defenses: Sequence[str] = ("baseline",),
    seeds: Sequence[int] = (1,),
    domains: Sequence[str] = ("float",),
) -> pd.DataFrame:
    """Return a sample table whose margins fall with the radius and are correlated within photographs.

    Attacks are a cascade in the order given: a fallen image stays fallen, at every later attack and larger radius.
    """
    rng = np.random.default_rng(0)
    images = photographs * patches
    group = np.repeat(np.arange(photographs), patches)
    label = np.arange(images) % classes
    ease = (2.0 + rng.normal(size=photographs)[group] + 0.5 * rng.normal(size=images)).astype(float)
    facts = {"sample_id": [f"s{i:05d}" for i in range(images)], "group": [f"p{g:04d}" for g in group], "label": label}
    parts = []
    for defense, seed in product(defenses, seeds):
        clean = ease - (0 if defense == "baseline" else 0.5) + 0.3 * rng.normal() + 0.5 * rng.normal(size=images)
        other = (label + rng.integers(1, classes, images)) % classes
        sway = {attack: np.abs(1 + 0.3 * rng.normal(size=images)) for attack in attacks}
        for (norm, cascade), domain in product(_cascades(attacks), domains):
            if cascade[0] == "postprocessing" and domain != "8bit":
                continue
            state = pd.DataFrame({"margin": clean, "moved": 0.0, "fell_to": np.where(clean > 0, "", "clean")})
            for level, attack in product(sorted(eps), cascade):
                moved = 0.0 if domain == "8bit" and norm == "linf" and level < 1 else float(level)
                margin = clean - WEAKNESS.get(defense, 1.0) * STRENGTH[attack] * moved * sway[attack]
                better = (state["margin"] > 0) & (margin < state["margin"])
                state.loc[better, "margin"], state.loc[better, "moved"] = margin[better], moved
                state.loc[better & (state["margin"] <= 0), "fell_to"] = attack
                found = state["margin"].to_numpy()
                condition = {"norm": norm, "domain": domain, "eps_levels": float(level), "attack": attack}
                outcome: dict[str, Any] = {
                    "predicted": np.where(found > 0, label, other),
                    "correct": found > 0,
                    "margin": found,
                }
                outcome |= {"fell_to": state["fell_to"], "score": np.where(label == 0, -found, found)}
                size = {"linf_levels": state["moved"], "rms_levels": state["moved"]}
                size["l2"] = state["moved"] / 255 * np.sqrt(PIXELS)
                knowledge = KNOWLEDGE.get(attack, "white box")
                run = {**RUN, "defense": defense, "seed": seed}
                parts.append(pd.DataFrame({**facts, **condition, "knowledge": knowledge, **outcome, **size, **run}))
    return pd.concat(parts, ignore_index=True)


def doubled(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a copy of every patch in the same photograph, which adds no information."""
    copies = samples.assign(sample_id=samples["sample_id"] + "-copy")
    return pd.concat([samples, copies], ignore_index=True)


def alarm_table(*fired: str) -> pd.DataFrame:
    """Return a table like ``alarms.csv`` in which the given alarms have fired."""
    names = list(dict.fromkeys([*ALARMS, *fired]))
    return pd.DataFrame(
        {
            "name": names,
            "fired": [name in fired for name in names],
            "evidence": [f"evidence of {name}: 12.5% of 72 images" for name in names],
            "advice": [f"what to do about {name}" for name in names],
        }
    )


def cost_table(samples: pd.DataFrame) -> pd.DataFrame:
    """Return a table like ``costs.csv`` for the sweep of a sample table."""
    points = samples[samples["eps_levels"] > 0].groupby(["norm", "domain", "attack", "eps_levels"], sort=False)
    costs = points["correct"].sum().rename("attacked").reset_index()
    return costs.assign(
        forward=40 * costs["attacked"], backward=39 * costs["attacked"], seconds=0.1 * costs["attacked"]
    )


def certificate_table(samples: pd.DataFrame, share: float = 0.25) -> pd.DataFrame:
    """Return a table like ``certificate.csv``; radii are a share of the radius up to which an image stands."""
    rows = samples[(samples["norm"] == "linf") & (samples["domain"] == "float")]
    standing = rows[rows["correct"]].groupby("sample_id")["eps_levels"].max()
    table = rows.drop_duplicates("sample_id")[["sample_id", "group", "label", "correct"]]
    radius = share * table["sample_id"].map(standing).fillna(0.0)
    return table.assign(norm="linf", method="linear bounds", radius_levels=radius)


def _cascades(attacks: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield norm and attacks of each cascade; post-processing has its own."""
    kinds = {attack: attack if attack == "postprocessing" else attack.endswith("l2") for attack in attacks}
    for kind, norm in ((False, "linf"), (True, "l2"), ("postprocessing", "l2")):
        if cascade := [attack for attack in attacks if kinds[attack] == kind]:
            yield norm, cascade
