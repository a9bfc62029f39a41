"""A cascade: attacks in order, over ascending radii, each on the images that still stand.

At each radius the attacks run from cheap to strong. An image that has fallen keeps its picture, which lies in every
larger ball too. So curves never rise, and large radii cost next to nothing. An attack that takes a start starts from
the best candidate found before, scaled to the radius. A minimum-norm attack runs once, before the first radius, and its
pictures count from their own radius on.

Attacks towards a target class, for instance to look pristine, make a cascade of their own. There an image stands until
it is given that class, and images of that class are left alone. An image that was given another wrong class on the way
keeps a wrong picture from then on, so accuracy never rises there either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
from advforensics.detectors.device import device_of
from advforensics.evaluation.batches import Work, halved_when_out_of_memory
from advforensics.evaluation.received import received_logits
from advforensics.evaluation.settings import SweepSettings
from advforensics.evaluation.state import CLEAN, CascadeState
from advforensics.persistence.journal import Outcome, seed_of
from advforensics.statistics.sample_table import COLUMNS

AnyAttack = TorchAttack | Ascent | MinimumNorm
FEW = 0.05  # share of images: where no more stand, patient attacks cost little and decide the end of the curve
EIGHT_BIT = "8bit"  # as an attack: pictures that the cascade in whole levels has found


@dataclass(frozen=True)
class CascadeResult:
    """What a cascade in one norm and domain gives.

    Attributes:
        rows: Rows of the sample table, without the provenance. The rows of an attack show each image after this attack
            and all before it.
        costs: One row per attack, radius and batch: how many images were ``attacked``, images put ``forward`` and
            ``backward`` through the detector, and ``seconds``. The attack `CLEAN` stands for the images themselves.
            Where known pictures are only judged, none are ``attacked``.
        pictures: The best picture of each image, ``(N, C, H, W)``; if the image fell, the one it fell to.
        candidates: The same before delivery, ``(N, C, H, W)``.
        fell_at: Radius per pixel value at which each image fell, in [0, 1], ``(N,)``; infinite where it stands or was
            wrong from the start.
        target_class: The class that counts as a fall; ``None`` for any wrong one.
    """

    rows: pd.DataFrame
    costs: pd.DataFrame
    pictures: Tensor
    candidates: Tensor
    fell_at: Tensor
    target_class: int | None


def run_cascade(
    settings: SweepSettings, attacks: Sequence[AnyAttack], domain: Domain, eight_bit: CascadeResult | None = None
) -> CascadeResult:
    """Run a cascade.

    Args:
        settings: Detector, images and radii.
        attacks: From cheap to strong, all of one norm, and all with one target class or none. Minimum-norm attacks
            work on floats and are left out of other domains.
        domain: What is delivered.
        eight_bit: The result of the 8-bit cascade of the same norm. Its pictures are tried last at each radius, for
            whoever may deliver floats may deliver whole levels.

    Raises:
        ValueError: If no attack is left, norms or target classes differ, or two attacks have the same name.
    """
    cascade = [attack for attack in attacks if domain.name == "float" or not isinstance(attack, MinimumNorm)]
    names = [attack.name for attack in cascade]
    aims = {(attack.norm, getattr(attack, "target_class", None)) for attack in cascade}
    if len(aims) != 1 or len(set(names)) < len(names):
        raise ValueError(
            f"{domain.name}: give attacks of one norm and target class, each with a name of its own; got {names}"
        )
    return _Cascade(settings, cascade, domain).run(eight_bit)


class _Cascade:
    """One cascade as it runs."""

    def __init__(self, settings: SweepSettings, attacks: Sequence[AnyAttack], domain: Domain) -> None:
        self.settings, self.attacks, self.domain = settings, attacks, domain
        self.detector, self.images, self.labels = settings.detector, settings.images.images, settings.images.labels
        self.device = device_of(settings.detector)
        self.norm: Norm = attacks[0].norm
        self.target_class = target_class = getattr(attacks[0], "target_class", None)
        self.name = f"{self.norm}-{domain.name}" + ("" if target_class is None else f"-towards-{target_class}")
        self.rows: list[pd.DataFrame] = []
        self.costs: list[dict[str, object]] = []
        self.state = CascadeState(settings.images, *self._judge_clean(), target_class)

    def run(self, eight_bit: CascadeResult | None) -> CascadeResult:
        """Run it."""
        nearest = {
            attack.name: self._run_minimum_norm(attack) for attack in self.attacks if isinstance(attack, MinimumNorm)
        }
        total = len(self.settings.eps_levels) * len(self.attacks)
        with tqdm(total=total, desc=f"{self.norm} {self.domain.name}", unit="point", disable=None) as progress:
            for eps_levels in self.settings.eps_levels:
                # A ball too small for a change of one level holds a single picture of whole levels, the image itself.
                too_small = levels_budget(self.norm, eps_levels * LEVEL, self.images) < 1
                only_clean = eps_levels == 0 or (self.domain.name != "float" and too_small)
                for attack in self.attacks:
                    if isinstance(attack, MinimumNorm):
                        self._judge_known(attack.name, *nearest[attack.name], eps_levels)
                    elif not only_clean:
                        self._run_attack(attack, eps_levels)
                    self._add_rows(attack.name, attack.knowledge, eps_levels)
                    progress.update()
                if eight_bit is not None:
                    name = EIGHT_BIT if self.target_class is None else f"{EIGHT_BIT}_targeted"
                    self._judge_known(name, eight_bit.pictures, eight_bit.fell_at, eps_levels)
                    self._add_rows(name, "white box", eps_levels)
        rows, fell_at = pd.concat(self.rows, ignore_index=True), self.state.fell_at
        never_fell = [self.settings.images.sample_ids[index] for index in fell_at.isinf().nonzero().flatten().tolist()]
        self.domain.discard(self.norm, never_fell)
        state = self.state
        costs = pd.DataFrame(self.costs)
        return CascadeResult(rows, costs, state.pictures, state.candidates, fell_at, self.target_class)

    def _judge_clean(self) -> tuple[Tensor, Tensor]:
        """Return what is delivered of the images themselves, and its logits.

        This goes through the journal too: a sweep that goes on must not write clean files over adversarial ones.
        """
        outcomes = [
            self._journaled(f"clean-{number}", partial(self._judge, pictures=self.images, eps=0.0), batch)
            for number, batch in enumerate(torch.arange(len(self.images)).split(self.settings.batch_size))
        ]
        for outcome in outcomes:
            self._add_cost(CLEAN, 0.0, 0, outcome)
        pictures, logits = ([outcome[name] for outcome in outcomes] for name in ("pictures", "logits"))
        return torch.cat(pictures), torch.cat(logits)

    def _run_minimum_norm(self, attack: MinimumNorm) -> tuple[Tensor, Tensor]:
        """Run a minimum-norm attack on what stands; return its pictures and their distances, ``(N,)``."""

        def work(batch: Tensor) -> dict[str, Tensor]:
            return {"pictures": attack(self.detector, *self._on_device(batch))}

        pictures, distances = self.images.clone(), torch.full((len(self.images),), torch.inf)
        for number, batch in enumerate(self.state.batches(self.settings.batch_size)):
            outcome = self._journaled(f"{attack.name}-{number}", work, batch)
            pictures[batch] = outcome["pictures"]
            length = size(self.norm, pictures[batch] - self.images[batch]).flatten()
            distances[batch] = torch.where(length > 0, length, torch.inf)
            self._add_cost(attack.name, 0.0, len(batch), outcome)
        self.state.candidates = pictures.clone()
        return pictures, distances

    def _run_attack(self, attack: TorchAttack | Ascent, eps_levels: float) -> None:
        """Run an attack at a radius on what stands."""
        for number, batch in enumerate(self.state.batches(self.settings.batch_size)):
            name = f"{eps_levels!r}-{attack.name}-{number}"
            outcome = self._journaled(name, partial(self._attack, attack=attack, eps=eps_levels * LEVEL), batch)
            found = outcome["candidates"], outcome["pictures"], outcome["logits"]
            self.state.update(attack.name, batch, *found, eps_levels)
            self._add_cost(attack.name, eps_levels, len(batch), outcome)

    def _judge_known(self, attack: str, pictures: Tensor, distances: Tensor, eps_levels: float) -> None:
        """Judge known pictures, ``(N, C, H, W)``, of standing images where they lie within the radius."""
        for batch in self.state.batches(self.settings.batch_size):
            batch = batch[distances[batch] <= eps_levels * LEVEL]
            if len(batch):
                judged = self._counted(partial(self._judge, pictures=pictures, eps=eps_levels * LEVEL), batch)
                self._add_cost(attack, eps_levels, 0, judged)
                self.state.update(attack, batch, pictures[batch], judged["pictures"], judged["logits"], eps_levels)

    def _journaled(self, name: str, work: Work, batch: Tensor) -> Outcome:
        """Return the outcome and cost of a batch. Its random draws depend on the seed and the batch's name alone."""
        name = f"{self.name}/{name}"

        def seeded() -> Outcome:
            torch.manual_seed(seed_of(self.settings.seed, name))
            return self._counted(work, batch)

        return self.settings.journal.get(name, seeded)

    def _counted(self, work: Work, batch: Tensor) -> Outcome:
        """Return the outcome of a batch, brought back to the CPU, and what it cost."""
        with counted(self.detector) as cost:
            outcome = halved_when_out_of_memory(work, batch)
        return {**{name: tensor.cpu() for name, tensor in outcome.items()}, **vars(cost)}

    def _on_device(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels of a batch where the detector is."""
        return self.images[batch].to(self.device), self.labels[batch].to(self.device)

    def _attack(self, batch: Tensor, attack: TorchAttack | Ascent, eps: float) -> dict[str, Tensor]:
        """Return the candidates that an attack finds, the pictures delivered of them, and their logits."""
        images, labels = self._on_device(batch)
        if isinstance(attack, TorchAttack):
            candidates = attack(self.detector, images, labels, eps)
        else:
            options: dict[str, Any] = {"patient": int(self.state.standing.sum()) <= FEW * len(self.images)}
            if self.domain.expectation:
                # An image that falls once may stand the next time. An adaptive step takes what is drawn at random for
                # oscillation.
                options = {"early_stopping": False, "step_rule": FixedStep}
            change = self.state.candidates[batch].to(self.device) - images
            length = size(self.norm, change)
            start = images + change * (eps / length.clamp_min(1e-12)) if (length > 0).any() else None

            def deliver(candidates: Tensor, indices: Tensor) -> Tensor:
                return self.domain.deliver(self.norm, eps, images[indices], candidates)

            candidates = attack(self.detector, images, labels, eps, start=start, deliver=deliver, **options)
        gradients = attack.knowledge != "black box"
        return {"candidates": candidates, **self._deliver(batch, candidates, eps, gradients=gradients)}

    def _judge(self, batch: Tensor, pictures: Tensor, eps: float) -> dict[str, Tensor]:
        """Return what is delivered of a batch of all pictures, ``(N, C, H, W)``, and its logits."""
        return self._deliver(batch, pictures[batch].to(self.device), eps, gradients=False)

    def _deliver(self, batch: Tensor, candidates: Tensor, eps: float, *, gradients: bool) -> dict[str, Tensor]:
        """Return the pictures delivered of candidates, and their logits; with gradients a search may improve them."""
        names = [self.settings.images.sample_ids[index] for index in batch.tolist()]
        images, labels = self._on_device(batch)
        detector = self.detector if gradients else None
        pictures = self.domain.final(self.norm, eps, images, candidates, detector, labels, names, self.target_class)
        return {"pictures": pictures, "logits": received_logits(self.detector, self.domain, images, pictures)}

    def _add_cost(self, attack: str, eps_levels: float, attacked: int, outcome: Outcome) -> None:
        cost = {name: outcome[name] for name in ("forward", "backward", "seconds")}
        point = {"norm": self.norm, "domain": self.domain.name, "attack": attack, "eps_levels": eps_levels}
        self.costs.append({**point, "attacked": attacked, **cost})

    def _add_rows(self, attack: str, knowledge: str, eps_levels: float) -> None:
        knowledge = knowledge if self.settings.gradients == "own" else "black box"
        point = {"attack": attack, "knowledge": knowledge, "norm": self.norm, "domain": self.domain.name}
        self.rows.append(self.state.rows().assign(**point, eps_levels=eps_levels)[COLUMNS])
