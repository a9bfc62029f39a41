"""Which defence, on photographs? ``python -m experiments.defenses.run STORE``."""

from pathlib import Path

from experiments.trainings import compare

PENALTY_L1 = ["defense=gradient_regularized", "defense.module.penalty.norm=l1"]
STRONG = ["defense.module.eps_levels=0.9", "defense.module.weight=0.6"]
SWEEP = ["eps_levels=[0,0.25,0.5,1,2]", "images=256", "ensemble.norms=[linf]"]
DEFENSES = {
    "baseline": ["defense=baseline"],
    "gradient_regularized": ["defense=gradient_regularized"],
    "adversarial_fusion": ["defense=adversarial_fusion"],
    "strong_penalty": [*PENALTY_L1, "defense.module.weight=0.004"],
    "stronger_penalty": [*PENALTY_L1, "defense.module.weight=0.007"],
    "regularized_fusion": ["defense=regularized_fusion"],
    "strong_fusion": ["defense=adversarial_fusion", *STRONG],
    "pgd_training": ["defense=pgd_training", "defense.module.eps_levels=1"],
}
COMMON = ["detector=deep", "trainer.precision=bf16-mixed", "trainer.max_epochs=6"]

if __name__ == "__main__":
    detectors = {name: [*overrides, *COMMON] for name, overrides in DEFENSES.items()}
    compare(Path(__file__).parent, detectors, SWEEP, about="Which defence, on photographs?")
