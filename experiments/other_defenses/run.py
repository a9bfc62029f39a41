"""Where do the other defences lie? ``python -m experiments.other_defenses.run STORE --seeds 1``."""

from pathlib import Path

from experiments.defenses.run import COMMON, SWEEP
from experiments.trainings import compare

NAMES = ("input_noise", "jpeg_augmentation", "noise_fgsm", "fast", "free", "trades", "mart")

if __name__ == "__main__":
    detectors = {name: [f"defense={name}", *COMMON] for name in NAMES}
    compare(Path(__file__).parent, detectors, SWEEP, about="Where do the other defences lie?")
