"""Is one minimum-norm run a curve? ``python experiments/minimum_norm/run.py STORE CHECKPOINT... > results.csv``."""

import sys
from functools import partial

import numpy as np
import pandas as pd
import torchattacks

from advforensics.attacks.domains import Float
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.cascade import AnyAttack, run_cascade
from advforensics.evaluation.images import select_images
from advforensics.evaluation.settings import SweepSettings
from advforensics.store.reading import PatchStore

GRID = [float(eps) for eps in np.geomspace(0.0625, 4, 20)]  # levels
APGD_STEPS = 40
STEPS = 32  # of the minimum-norm attack
IMAGES = 512


def main(store: str, checkpoints: list[str]) -> pd.DataFrame:
    """Return robust accuracy of all attacks at every radius, and the gradients that each has asked for per image."""
    parts = []
    for path in checkpoints:
        trained = load_checkpoint(path)
        targets = select_images(PatchStore(store), trained, "test", IMAGES)[:]
        for norm, name in (("linf", "Linf"), ("l2", "L2")):
            sweep = partial(torchattacks.APGD, norm=name, steps=APGD_STEPS, loss="ce", n_restarts=1)
            attacks: list[AnyAttack] = [TorchAttack("apgd", sweep, norm), MinimumNorm(f"fmn_{STEPS}", norm, STEPS)]
            for attack in attacks:
                settings = SweepSettings(trained.detector, targets, eps_levels=GRID, batch_size=64, seed=0)
                swept = run_cascade(settings, [attack], Float())
                rows = swept.rows[swept.rows["eps_levels"] > 0]
                curve = rows.groupby("eps_levels")["correct"].mean().rename("robust_accuracy").reset_index()
                gradients = swept.costs["backward"].sum() / len(targets.labels)
                facts = {"task": trained.task, "defense": trained.defense, "norm": norm, "attack": attack.name}
                parts.append(curve.assign(**facts, gradients_per_image=gradients, images=IMAGES))
                print(facts, round(gradients, 1), file=sys.stderr)
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:]).to_csv(sys.stdout, index=False, float_format="%.5g")
