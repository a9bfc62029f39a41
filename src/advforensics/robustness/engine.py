"""The sweep engine: every radius, norm and domain of one detector, a row for each image."""

from collections.abc import Sequence

from torch import nn

from advforensics.attacks.deliver import Domain
from advforensics.attacks.minimum import MinimumNorm
from advforensics.data import Targets
from advforensics.robustness.cascade import AnyAttack, Cascade, Swept
from advforensics.robustness.journal import Journal


class Engine:
    """Attacks a detector over a grid of radii.

    At each radius, ascending, the attacks run in the order given, from cheap to strong, each only on the images that
    still stand. An image that has fallen keeps the perturbation that felled it, which lies in every larger ball too. So
    curves never rise, and late points cost next to nothing. An attack that can starts from the best perturbation found
    before, stretched to the radius. A minimum-norm attack comes once, before the first radius, and fells each image at
    every radius from its own on. Rows of an attack tell how things stand after it and all before it.

    Attacks that want one class, to look pristine, say, make a cascade of their own: there an image stands until it is
    given that class, and images of that class are left alone. One that has been given a wrong class on the way shows a
    wrong picture from then on, so that accuracy never rises there either.

    Args:
        detector: The network under attack.
        targets: What to attack.
        eps_levels: Radii in levels. 0, the clean pictures, is always in the table.
        batch_size: Images attacked at once, and the most that a kill loses.
        seed: Of all that is drawn at random: each batch of each attack, norm, aim, domain and radius has a seed of its
            own, so that no result depends on what ran before.
        journal: Keeps the outcome of every batch.

    Raises:
        ValueError: If a radius is negative.
    """

    def __init__(
        self,
        detector: nn.Module,
        targets: Targets,
        *,
        eps_levels: Sequence[float],
        batch_size: int,
        seed: int,
        journal: Journal | None = None,
    ) -> None:
        if min(eps_levels, default=0) < 0:
            raise ValueError(f"eps_levels must not be negative, got {list(eps_levels)}")
        self.detector = detector.eval()
        self.targets = targets
        self.eps_levels = sorted({0.0, *map(float, eps_levels)})
        self.batch_size = batch_size
        self.seed = seed
        self.journal = journal or Journal(None)

    def run(self, attacks: Sequence[AnyAttack], domain: Domain, delivered: Swept | None = None) -> Swept:
        """Run a cascade.

        Args:
            attacks: From cheap to strong, all of one norm and with one wanted class or none. Minimum-norm attacks work
                on floats and are left out of other domains.
            domain: What is delivered and judged.
            delivered: What a cascade of the same norm has found in whole levels, to be tried here as well, last at each
                radius: whoever may deliver any float may deliver these.

        Raises:
            ValueError: If no attack is left, norms differ, or two attacks bear one name.
        """
        cascade = [attack for attack in attacks if domain.name == "float" or not isinstance(attack, MinimumNorm)]
        names = [attack.name for attack in cascade]
        kinds = {(attack.norm, getattr(attack, "wanted", None)) for attack in cascade}
        if len(kinds) != 1 or len(set(names)) < len(names):
            raise ValueError(
                f"{domain.name}: attacks of one norm and wanted class, each with a name of its own; got {names}"
            )
        return Cascade(self, cascade, domain, delivered).run()
