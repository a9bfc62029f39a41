"""Is one minimum-norm run a curve? ``python experiments/minimum_norm/run.py STORE CHECKPOINT... > results.csv``."""

import sys
from functools import partial

import numpy as np
import pandas as pd
import torchattacks

from advforensics.attacks.deliver import Float
from advforensics.attacks.gateway import Attack
from advforensics.attacks.minimum import MinimumNorm
from advforensics.checkpoint import load_checkpoint
from advforensics.data import PatchStore
from advforensics.robustness.engine import Engine
from advforensics.sweep import select

GRID = [float(eps) for eps in np.geomspace(0.0625, 4, 20)]  # levels
STEPS = 40
IMAGES = 512


def main(store: str, checkpoints: list[str]) -> pd.DataFrame:
    """Return robust accuracy of both at every radius, and the gradients that each has asked for per image."""
    parts = []
    for path in checkpoints:
        trained = load_checkpoint(path)
        targets = select(PatchStore(store), trained, "test", IMAGES)
        for norm, name in (("linf", "Linf"), ("l2", "L2")):
            sweep = partial(torchattacks.APGD, norm=name, steps=STEPS, loss="ce", n_restarts=1)
            curves = {}
            for attack in (MinimumNorm("fmn", norm, STEPS), Attack("apgd", sweep, norm)):
                engine = Engine(trained.detector, targets, eps_levels=GRID, batch_size=64, seed=0)
                swept = engine.run([attack], Float())
                rows = swept.rows[swept.rows["eps_levels"] > 0]
                curves[attack.name] = rows.groupby("eps_levels")["correct"].mean()
                curves[f"{attack.name}_gradients"] = swept.costs["backward"].sum() / len(targets.labels)
            table = pd.DataFrame(curves).reset_index()
            # A loop over the radii, as other tools run it, would ask for this many.
            table["loop_gradients"] = len(GRID) * (STEPS + 1)
            parts.append(table.assign(task=trained.task, defense=trained.defense, norm=norm, images=IMAGES))
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:]).to_csv(sys.stdout, index=False, float_format="%.5g")
