"""Made-up sample tables for tests."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

STRENGTH = {"fgsm": 1.0, "pgd": 2.0, "apgd": 2.2, "square": 1.2, "noise": 0.1, "pgd_l2": 2.0}
WEAKNESS = {"baseline": 3.0, "gradient_regularized": 1.2, "adversarial_fusion": 0.6, "regularized_fusion": 0.5}


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
    """Draw margins that fall with epsilon, alike for patches of one photograph, and make a sample table of them."""
    rng = np.random.default_rng(0)
    images = photographs * patches
    group = np.repeat(np.arange(photographs), patches)
    label = np.arange(images) % classes
    ease = (2.0 + rng.normal(size=photographs)[group] + 0.5 * rng.normal(size=images)).astype(float)
    parts = []
    for defense, seed in product(defenses, seeds):
        clean = ease - (0 if defense == "baseline" else 0.5) + 0.3 * rng.normal() + 0.5 * rng.normal(size=images)
        other = (label + rng.integers(1, classes, images)) % classes
        sway = {attack: np.abs(1 + 0.3 * rng.normal(size=images)) for attack in attacks}
        for attack, level, domain in product(attacks, eps, domains):
            norm = "l2" if attack.endswith("l2") else "linf"
            moved = 0.0 if domain == "8bit" and norm == "linf" and level < 1 else level
            margin = clean - WEAKNESS.get(defense, 1.0) * STRENGTH[attack] * moved * sway[attack]
            doubt = 1 / (1 + np.exp(np.where(label == 0, margin, -margin)))
            parts.append(
                pd.DataFrame(
                    {
                        "sample_id": [f"s{i:05d}" for i in range(images)],
                        "group": [f"p{g:04d}" for g in group],
                        "label": label,
                        "attack": attack,
                        "norm": norm,
                        "eps_levels": float(level),
                        "domain": domain,
                        "predicted": np.where(margin > 0, label, other),
                        "correct": margin > 0,
                        "margin": margin,
                        "score": doubt,
                        "linf_levels": moved,
                        "l2": moved / 255 * 32.0,
                        "task": "manipulation",
                        "detector": "constrained",
                        "defense": defense,
                        "seed": seed,
                        "checkpoint": "0" * 64,
                        "commit": "0" * 40,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
