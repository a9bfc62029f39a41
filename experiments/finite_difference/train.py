"""Does a detector learn the same from both penalties? ``python -m experiments.finite_difference.train STORE``."""

from pathlib import Path

from experiments.trainings import compare

PENALTY = ["defense=gradient_regularized", "trainer.max_epochs=4"]
SWEEP = ["eps_levels=[0,0.5,1]", "images=512", "ensemble.norms=[linf]", "~ensemble.domains.eightbit"]

if __name__ == "__main__":
    names = ("exact", "finite_difference")
    methods = {name: [*PENALTY, f"defense.module.penalty.method={name}"] for name in names}
    compare(Path(__file__).parent, methods, SWEEP, about="Does a detector learn the same from both penalties?")
