"""How far an attacker gets who has the weights behind these detectors: the gradient of the plain detector stands in.

python -m experiments.without_gradients.floor STORE CHECKPOINT IMAGES
"""

import sys

import torch
from hydra import compose, initialize_config_dir

from advforensics.cli.main import config_dir
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.ensemble import run_ensemble
from advforensics.evaluation.images import select_images
from advforensics.evaluation.settings import SweepSettings
from advforensics.evaluation.stand_in import StandIn
from advforensics.store.reading import PatchStore
from advforensics.targets.black_box import BlackBox
from experiments.without_gradients.detectors import BehindJpeg, Vote


def main(store: str, checkpoint: str, images: str) -> None:
    """Print robust accuracy at each radius of the plain detector and of both around it, L∞ in floats."""
    torch.set_num_threads(1)
    trained = load_checkpoint(checkpoint)
    evaluated = select_images(PatchStore(store), trained, "test", int(images))[:]
    with initialize_config_dir(str(config_dir()), version_base=None):
        ensemble = compose("sweep", ["ensemble.norms=[linf]", "~ensemble.domains.eightbit"]).ensemble
    hidden = {"behind JPEG": BehindJpeg(checkpoint), "vote": Vote(checkpoint)}
    stand_ins = {name: StandIn(BlackBox(function), trained.detector) for name, function in hidden.items()}
    for name, detector in {"plain": trained.detector, **stand_ins}.items():
        settings = SweepSettings(detector, evaluated, [0.25, 0.5, 1, 2], batch_size=64, seed=0)
        (result,) = run_ensemble(settings, ensemble)
        last = result.rows[result.rows["attack"] == "square"]
        print(name, last.groupby("eps_levels")["correct"].mean().mul(100).round(1).to_dict(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
