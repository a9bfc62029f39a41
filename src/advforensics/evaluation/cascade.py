"""A cascade: attacks in order, over ascending radii, each on the images that still stand.

At each radius the attacks run from cheap to strong. An image that has fallen keeps the perturbation that felled it,
which lies in every larger ball too. So curves never rise, and late points cost next to nothing. An attack that can
starts from the best perturbation found before, stretched to the radius. A minimum-norm attack runs once, before the
first radius, and fells each image at every radius from its own on.

Attacks towards one class, to look pristine, say, make a cascade of their own. There an image stands until it is given
that class, and images of that class are left alone. An image that was given a wrong class on the way shows a wrong
picture from then on, so accuracy never rises there either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import Domain
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.attacks.steps import FixedStep
from advforensics.attacks.threat_model import LEVEL, Norm, levels_budget, size
from advforensics.detectors.cost import counted
from advforensics.evaluation.settings import SweepSettings
from advforensics.evaluation.state import CLEAN, CascadeState
from advforensics.persistence.journal import Outcome, seed_of
from advforensics.statistics.sample_table import COLUMNS

AnyAttack = TorchAttack | Ascent | MinimumNorm
FEW = 0.05  # of the images: where no more stand, patience costs little, and decides the end of the curve
EIGHT_BIT = "8bit"  # as an attack: what an image fell to that fell to a picture of whole levels


@dataclass(frozen=True)
class CascadeResult:
    """What a cascade in one norm and domain gives.

    Attributes:
        rows: The rows of the sample table, without the provenance. Rows of an attack tell how images stand after it and
            all before it.
        costs: One row per attack, radius and batch: how many images were ``attacked``, images put ``forward`` and
            ``backward`` through the detector, and ``seconds``. `CLEAN` is what judging the images themselves took;
            where what is already known is only judged, none are ``attacked``.
        pictures: The best picture of each image, ``(N, C, H, W)``: the one that felled it, if it fell.
        fell_at: At which radius per pixel value, in [0, 1], ``(N,)``; infinite where the image stands or was wrong
            from the start.
    """

    rows: pd.DataFrame
    costs: pd.DataFrame
    pictures: Tensor
    fell_at: Tensor


def run_cascade(
    settings: SweepSettings, attacks: Sequence[AnyAttack], domain: Domain, eight_bit: CascadeResult | None = None
) -> CascadeResult:
    """Run a cascade.

    Args:
        settings: Detector, images and radii.
        attacks: From cheap to strong, all of one norm and with one target class or none. Minimum-norm attacks work
            on floats and are left out of other domains.
        domain: What is delivered and judged.
        eight_bit: What a cascade of the same norm has found in whole levels, tried here as well, last at each radius:
            whoever may deliver any float may deliver these.

    Raises:
        ValueError: If no attack is left, norms differ, or two attacks bear one name.
    """
    cascade = [attack for attack in attacks if domain.name == "float" or not isinstance(attack, MinimumNorm)]
    names = [attack.name for attack in cascade]
    kinds = {(attack.norm, getattr(attack, "target_class", None)) for attack in cascade}
    if len(kinds) != 1 or len(set(names)) < len(names):
        raise ValueError(
            f"{domain.name}: attacks of one norm and target class, each with a name of its own; got {names}"
        )
    return _Cascade(settings, cascade, domain).run(eight_bit)


class _Cascade:
    """One cascade as it runs."""

    def __init__(self, settings: SweepSettings, attacks: Sequence[AnyAttack], domain: Domain) -> None:
        self.settings, self.attacks, self.domain = settings, attacks, domain
        self.detector, self.images, self.labels = settings.detector, settings.images.images, settings.images.labels
        self.norm: Norm = attacks[0].norm
        self.target_class: int | None = getattr(attacks[0], "target_class", None)
        self.name = f"{self.norm}-{domain.name}" + (
            "" if self.target_class is None else f"-towards-{self.target_class}"
        )
        self.rows: list[pd.DataFrame] = []
        self.costs: list[dict[str, object]] = []
        self.state = CascadeState(settings.images, *self._judge_clean(), self.target_class)

    def run(self, eight_bit: CascadeResult | None) -> CascadeResult:
        """Run it."""
        nearest = {
            attack.name: self._run_minimum_norm(attack) for attack in self.attacks if isinstance(attack, MinimumNorm)
        }
        total = len(self.settings.eps_levels) * len(self.attacks)
        with tqdm(total=total, desc=f"{self.norm} {self.domain.name}", unit="point", disable=None) as progress:
            for eps_levels in self.settings.eps_levels:
                # In a ball too small for one level the picture itself is the only one of whole levels.
                small = levels_budget(self.norm, eps_levels * LEVEL, self.images) < 1
                idle = eps_levels == 0 or (self.domain.name != "float" and small)
                for attack in self.attacks:
                    if isinstance(attack, MinimumNorm):
                        self._judge_found(attack.name, *nearest[attack.name], eps_levels)
                    elif not idle:
                        self._run_attack(attack, eps_levels)
                    self._add_rows(attack.name, attack.knowledge, eps_levels)
                    progress.update()
                if eight_bit is not None:
                    name = EIGHT_BIT if self.target_class is None else f"{EIGHT_BIT}_targeted"
                    self._judge_found(name, eight_bit.pictures, eight_bit.fell_at, eps_levels)
                    self._add_rows(name, "white box", eps_levels)
        fell_at = self.state.fell_at
        stood = [self.settings.images.sample_ids[index] for index in fell_at.isinf().nonzero().flatten().tolist()]
        self.domain.discard(self.norm, stood)
        return CascadeResult(
            pd.concat(self.rows, ignore_index=True), pd.DataFrame(self.costs), self.state.pictures, fell_at
        )

    def _judge_clean(self) -> tuple[Tensor, Tensor]:
        """Return what is delivered of the images themselves, and its logits.

        It is journaled as attacks are: a sweep that goes on must not write clean files over adversarial ones.
        """
        clean = []
        for number, chosen in enumerate(torch.arange(len(self.images)).split(self.settings.batch_size)):

            def work(chosen: Tensor = chosen) -> Outcome:
                with counted(self.detector) as cost:
                    pictures, logits = self._judged(chosen, self.images[chosen], 0.0)
                return {"pictures": pictures, "logits": logits, **vars(cost)}

            clean.append(self._journaled(f"clean-{number}", work))
        for outcome in clean:
            self._add_cost(CLEAN, 0.0, 0, outcome)
        return torch.cat([outcome["pictures"] for outcome in clean]), torch.cat(
            [outcome["logits"] for outcome in clean]
        )

    def _journaled(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Return the outcome of a batch; what it draws at random follows from the seed and the batch's name alone."""
        name = f"{self.name}/{name}"

        def seeded() -> Outcome:
            torch.manual_seed(seed_of(self.settings.seed, name))
            return work()

        return self.settings.journal.get(name, seeded)

    def _run_minimum_norm(self, attack: MinimumNorm) -> tuple[Tensor, Tensor]:
        """Run a minimum-norm attack on what stands; return its pictures and how far they are, ``(N,)``."""
        pictures, distance = self.images.clone(), torch.full((len(self.images),), torch.inf)
        for number, chosen in enumerate(self.state.batches(self.settings.batch_size)):

            def work(chosen: Tensor = chosen) -> Outcome:
                with counted(self.detector) as cost:
                    found = attack(self.detector, self.images[chosen], self.labels[chosen])
                return {"pictures": found, **vars(cost)}

            outcome = self._journaled(f"{attack.name}-{number}", work)
            pictures[chosen] = outcome["pictures"]
            length = size(self.norm, outcome["pictures"] - self.images[chosen]).flatten()
            distance[chosen] = torch.where(length > 0, length, torch.inf)
            self._add_cost(attack.name, 0.0, len(chosen), outcome)
        self.state.candidates = pictures.clone()
        return pictures, distance

    def _judge_found(self, name: str, pictures: Tensor, distance: Tensor, eps_levels: float) -> None:
        """Judge pictures that were found before, ``(N, C, H, W)``, where they lie within a radius."""
        for chosen in self.state.batches(self.settings.batch_size):
            chosen = chosen[distance[chosen] <= eps_levels * LEVEL]
            if len(chosen):
                with counted(self.detector) as cost:
                    judged, logits = self._judged(chosen, pictures[chosen], eps_levels * LEVEL)
                self._add_cost(name, eps_levels, 0, vars(cost))
                self.state.update(name, chosen, pictures[chosen], judged, logits, eps_levels)

    def _run_attack(self, attack: TorchAttack | Ascent, eps_levels: float) -> None:
        """Run an attack at a radius on what stands."""
        eps = eps_levels * LEVEL
        for number, chosen in enumerate(self.state.batches(self.settings.batch_size)):

            def work(chosen: Tensor = chosen) -> Outcome:
                with counted(self.detector) as cost:
                    candidates = self._attacked(attack, chosen, eps)
                    pictures, logits = self._judged(chosen, candidates, eps, gradients=attack.knowledge != "black box")
                return {"candidates": candidates, "pictures": pictures, "logits": logits, **vars(cost)}

            outcome = self._journaled(f"{eps_levels!r}-{attack.name}-{number}", work)
            found = outcome["candidates"], outcome["pictures"], outcome["logits"]
            self.state.update(attack.name, chosen, *found, eps_levels)
            self._add_cost(attack.name, eps_levels, len(chosen), outcome)

    def _attacked(self, attack: TorchAttack | Ascent, chosen: Tensor, eps: float) -> Tensor:
        """Return what an attack makes of a batch."""
        images, labels = self.images[chosen], self.labels[chosen]
        if isinstance(attack, TorchAttack):
            return attack(self.detector, images, labels, eps)
        # One quality at which an image falls says little about the next, and an adaptive step takes the draws for
        # oscillation.
        noisy: dict[str, Any] = {"leave": False, "step_rule": FixedStep} if self.domain.name == "jpeg" else {}
        few = int(self.state.standing.sum()) <= FEW * len(self.images)
        change = self.state.candidates[chosen] - images
        length = size(self.norm, change)
        start = images + change * (eps / length.clamp_min(1e-12)) if (length > 0).any() else None
        return attack(
            self.detector,
            images,
            labels,
            eps,
            start=start,
            deliver=lambda candidates, rows: self.domain.deliver(self.norm, eps, images[rows], candidates),
            thorough=few,
            **noisy,
        )

    def _judged(
        self, chosen: Tensor, candidates: Tensor, eps: float, *, gradients: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return what is delivered of candidates in the end, and its logits; gradients may improve it on the way."""
        names = [self.settings.images.sample_ids[index] for index in chosen.tolist()]
        images, labels, detector = self.images[chosen], self.labels[chosen], self.detector if gradients else None
        pictures = self.domain.final(self.norm, eps, images, candidates, detector, labels, names, self.target_class)
        with torch.no_grad():
            return pictures, self.detector(pictures)

    def _add_cost(self, attack: str, eps_levels: float, attacked: int, outcome: Outcome) -> None:
        cost = {name: outcome[name] for name in ("forward", "backward", "seconds")}
        point = {"norm": self.norm, "domain": self.domain.name, "attack": attack, "eps_levels": eps_levels}
        self.costs.append({**point, "attacked": attacked, **cost})

    def _add_rows(self, attack: str, knowledge: str, eps_levels: float) -> None:
        """Add the rows of a point."""
        point = {"attack": attack, "knowledge": knowledge, "norm": self.norm, "domain": self.domain.name}
        self.rows.append(self.state.rows().assign(**point, eps_levels=eps_levels)[COLUMNS])
