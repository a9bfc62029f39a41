"""Who takes part."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from experiments.benchmark_training import art_trainers, loops
from experiments.benchmark_training.ours import Ours
from experiments.benchmark_training.settings import Setting, Trainee

FLOOR = "floor"
OURS = "advforensics"
PYTORCH = "PyTorch"
TORCHATTACKS = "torchattacks"
ART = "ART"
PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}  # as the table has it: as Lightning's Trainer has it


@dataclass(frozen=True)
class Regime:
    """A way to train, whoever does it.

    Attributes:
        defense: Its name in ``conf/defense``.
        variant: What is different from that file, empty for nothing.
        passes: How many bare passes over a batch make its floor: the fewest that are known to do. A pass of an attack
            counts as a whole one, although it needs no gradient of the weights.
    """

    defense: str
    variant: str
    passes: float


PLAIN = Regime("baseline", "", 1)
PENALTY = Regime("gradient_regularized", "", 2)
EXACT = Regime("gradient_regularized", "exact", 2)
FUSION = Regime("adversarial_fusion", "", 2)
OWN_GRADIENT = Regime("adversarial_fusion", "own gradient", 2)
REPLACE = Regime("adversarial_fusion", "half replaced", 1.5)
BOTH = Regime("regularized_fusion", "", 3)
PGD = Regime("pgd_training", "", 8)
N_FGSM = Regime("noise_fgsm", "", 2)
FREE = Regime("free", "", 1)
TRADES = Regime("trades", "", 9)
MAIN = (PLAIN, PENALTY, FUSION, BOTH)


@dataclass(frozen=True)
class Candidate:
    """One that takes part.

    Attributes:
        implementation: Who trains.
        regime: How.
        build: Begins such a training.
        precision: One of `PRECISIONS`.
        compiled: Whether the network is compiled.
    """

    implementation: str
    regime: Regime
    build: Callable[[Setting], Trainee]
    precision: str = "float32"
    compiled: bool = False


def candidates(precision: str = "float32", compiled: bool = False) -> list[Candidate]:
    """Return who takes part: all, as things are by default; with other settings the bare pass and our main defences."""
    bare = partial(loops.bare, bf16=precision == "bf16", compiled=compiled)
    floor = Candidate(FLOOR, PLAIN, bare, precision, compiled)
    main = [_ours(regime, precision=precision, compiled=compiled) for regime in MAIN]
    if compiled or precision != "float32":
        return [floor, *main]
    return [
        floor,
        *main,
        _ours(EXACT, "defense.module.penalty.method=exact"),
        _ours(OWN_GRADIENT, "defense.module.reuse_gradient=false"),
        _ours(REPLACE, "defense.module.fusion=replace", "defense.module.reuse_gradient=false"),
        *(_ours(regime) for regime in (FREE, N_FGSM, PGD, TRADES)),
        Candidate(PYTORCH, PLAIN, loops.plain),
        Candidate(PYTORCH, EXACT, loops.double_backward),
        Candidate(TORCHATTACKS, OWN_GRADIENT, loops.torchattacks_fgsm),
        Candidate(TORCHATTACKS, PGD, loops.torchattacks_pgd),
        Candidate(ART, PLAIN, art_trainers.plain),
        Candidate(ART, REPLACE, art_trainers.half_turned),
        Candidate(ART, OWN_GRADIENT, art_trainers.as_much_turned),
        Candidate(ART, PGD, art_trainers.pgd),
    ]


def _ours(regime: Regime, *overrides: str, precision: str = "float32", compiled: bool = False) -> Candidate:
    warmup = () if regime is PLAIN else ("defense.module.warmup=0",)  # full strength from the first step on
    given = (
        f"defense={regime.defense}",
        f"trainer.precision={PRECISIONS[precision]}",
        f"compile={str(compiled).lower()}",
        *warmup,
        *overrides,
    )
    return Candidate(OURS, regime, partial(_begin, given), precision, compiled)


def _begin(overrides: tuple[str, ...], setting: Setting) -> Trainee:
    return Ours(setting, *overrides)
