"""Which part of the detector makes it robust? ``python -m experiments.architecture.run STORE``."""

from pathlib import Path

from experiments.defenses.run import COMMON, SWEEP
from experiments.trainings import compare

TRUNK = "detector.model.trunk"
PARTS = {  # one part changed at a time
    "deep": [],
    "truncated at 2 levels": ["detector.model.truncation_levels=2"],
    "without the picture": ["detector.model.front_end.picture=0"],
    "without deviations": [f"{TRUNK}.spread=false"],
    "small trunk": ["detector=constrained"],
    "ReLU": [f"{TRUNK}.activation._target_=torch.nn.ReLU"],
    "without a front end": ["detector=plain", f"detector/trunk@{TRUNK}=deep"],
}
FUSION = ["defense=adversarial_fusion", "defense.module.eps_levels=0.75"]
NAME = "detector.name=deep"  # of all: a report compares trainings of one detector

if __name__ == "__main__":
    detectors = {name.replace(" ", "_"): [*FUSION, *COMMON, *overrides, NAME] for name, overrides in PARTS.items()}
    compare(Path(__file__).parent, detectors, SWEEP, about="Which part of the detector makes it robust?")
