"""A cascade: attacks in order, over ascending radii, on what still stands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.deliver import Domain
from advforensics.attacks.gateway import Attack
from advforensics.attacks.losses import margins
from advforensics.attacks.minimum import MinimumNorm
from advforensics.attacks.steps import FixedStep
from advforensics.attacks.threat import LEVEL, Norm, levels_budget, size
from advforensics.cost import counted
from advforensics.robustness.journal import Outcome, seed_of
from advforensics.robustness.judged import judged

if TYPE_CHECKING:
    from advforensics.robustness.engine import Engine

AnyAttack = Attack | Ascent | MinimumNorm
CLEAN = "clean"  # what an image that was wrong from the start fell to
FEW = 0.05  # of the images: where no more stand, giving none up costs little, and the end of a curve is what it says
DELIVERED = "8bit"  # what an image fell to that fell to a picture of whole levels
# Of the rows, in this order.
COLUMNS = ["sample_id", "group", "label", "attack", "knowledge", "norm", "eps_levels", "domain", "predicted", "correct"]
COLUMNS += ["fell_to", "margin", "score", "linf_levels", "rms_levels", "l2"]


@dataclass(frozen=True)
class Swept:
    """What a sweep in one norm and domain gives.

    Attributes:
        rows: The rows of the sample table, without the run facts.
        costs: One row per attack, radius and batch: how many images were ``attacked``, images put ``forward`` and
            ``backward`` through the detector, and ``seconds``. `CLEAN` is what judging the images themselves took;
            where what is already known is only judged, none are ``attacked``.
        felled: The picture that felled each image, ``(N, C, H, W)``.
        fell_at: At which radius per pixel value, in [0, 1], ``(N,)``; infinite where the image stands or was wrong
            from the start.
    """

    rows: pd.DataFrame
    costs: pd.DataFrame
    felled: Tensor
    fell_at: Tensor


class Cascade:
    """One norm and domain: every image's best picture so far, and which images still stand.

    Args:
        engine: Whose detector and targets, radii, batches, seed and journal these are.
        attacks: From cheap to strong.
        domain: What is delivered and judged.
        delivered: See `Engine.run`.
    """

    def __init__(self, engine: "Engine", attacks: Sequence[AnyAttack], domain: Domain, delivered: Swept | None) -> None:
        self.engine, self.attacks, self.domain, self.delivered = engine, attacks, domain, delivered
        self.detector, self.targets = engine.detector, engine.targets
        self.images, self.labels = engine.targets.images, engine.targets.labels
        self.norm: Norm = attacks[0].norm
        self.wanted: int | None = getattr(attacks[0], "wanted", None)
        self.name = f"{self.norm}-{domain.name}" + ("" if self.wanted is None else f"-towards-{self.wanted}")
        self.candidates = self.images.clone()  # the nearest to falling that attacks have found, before delivery
        self.fell_to = np.full(len(self.images), "", dtype=object)
        self.fell_at = torch.full((len(self.images),), torch.inf)
        self.rows: list[pd.DataFrame] = []
        self.costs: list[dict[str, object]] = []
        self.pictures, self.logits = self._clean()  # as judged
        self.lead = self._lead(self.logits, self.labels)  # of the candidates
        self.standing = (self.lead > 0) & (self.labels != (-1 if self.wanted is None else self.wanted))
        self.fell_to[(self.logits.argmax(dim=1) != self.labels).numpy()] = CLEAN

    def run(self) -> Swept:
        """Run it."""
        nearest = {attack.name: self._nearest(attack) for attack in self.attacks if isinstance(attack, MinimumNorm)}
        total = len(self.engine.eps_levels) * len(self.attacks)
        with tqdm(total=total, desc=f"{self.norm} {self.domain.name}", unit="point", disable=None) as progress:
            for eps_levels in self.engine.eps_levels:
                # In a ball too small for one level the picture itself is the only one of whole levels.
                small = levels_budget(self.norm, eps_levels * LEVEL, self.images) < 1
                idle = eps_levels == 0 or (self.domain.name != "float" and small)
                for attack in self.attacks:
                    if isinstance(attack, MinimumNorm):
                        self._fall(attack.name, *nearest[attack.name], eps_levels)
                    elif not idle:
                        self._attack(attack, eps_levels)
                    self._tell(attack.name, attack.knowledge, eps_levels)
                    progress.update()
                if self.delivered is not None:
                    name = DELIVERED if self.wanted is None else f"{DELIVERED}_wanted"
                    self._fall(name, self.delivered.felled, self.delivered.fell_at, eps_levels)
                    self._tell(name, "white box", eps_levels)
        stood = [self.targets.sample_ids[index] for index in self.fell_at.isinf().nonzero().flatten().tolist()]
        self.domain.discard(self.norm, stood)
        return Swept(pd.concat(self.rows, ignore_index=True), pd.DataFrame(self.costs), self.pictures, self.fell_at)

    def _clean(self) -> tuple[Tensor, Tensor]:
        """Return what is delivered of the images themselves, and its logits.

        It is kept as attacks are: a sweep that goes on must not write clean files over adversarial ones.
        """
        clean = []
        for number, chosen in enumerate(torch.arange(len(self.images)).split(self.engine.batch_size)):

            def work(chosen: Tensor = chosen) -> Outcome:
                with counted(self.detector) as cost:
                    pictures, logits = self._judged(chosen, self.images[chosen], 0.0)
                return {"pictures": pictures, "logits": logits, **vars(cost)}

            clean.append(self._kept(f"clean-{number}", work))
        for kept in clean:
            self._count(CLEAN, 0.0, 0, kept)
        return torch.cat([kept["pictures"] for kept in clean]), torch.cat([kept["logits"] for kept in clean])

    def _kept(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Return the outcome of a batch; what it draws at random follows from the seed and the batch's name alone."""
        name = f"{self.name}/{name}"

        def seeded() -> Outcome:
            torch.manual_seed(seed_of(self.engine.seed, name))
            return work()

        return self.engine.journal.get(name, seeded)

    def _nearest(self, attack: MinimumNorm) -> tuple[Tensor, Tensor]:
        """Run a minimum-norm attack on what stands; return its pictures and how far they are, ``(N,)``."""
        pictures, distance = self.images.clone(), torch.full((len(self.images),), torch.inf)
        for number, chosen in enumerate(self._standing()):

            def work(chosen: Tensor = chosen) -> Outcome:
                with counted(self.detector) as cost:
                    found = attack(self.detector, self.images[chosen], self.labels[chosen])
                return {"pictures": found, **vars(cost)}

            outcome = self._kept(f"{attack.name}-{number}", work)
            pictures[chosen] = outcome["pictures"]
            length = size(self.norm, outcome["pictures"] - self.images[chosen]).flatten()
            distance[chosen] = torch.where(length > 0, length, torch.inf)
            self._count(attack.name, 0.0, len(chosen), outcome)
        self.candidates = pictures.clone()
        return pictures, distance

    def _fall(self, name: str, pictures: Tensor, distance: Tensor, eps_levels: float) -> None:
        """Let the images fall for which a wrong picture is known within a radius."""
        for chosen in self._standing():
            chosen = chosen[distance[chosen] <= eps_levels * LEVEL]
            if len(chosen):
                with counted(self.detector) as cost:
                    judged, logits = self._judged(chosen, pictures[chosen], eps_levels * LEVEL)
                self._count(name, eps_levels, 0, vars(cost))
                self._take(name, chosen, pictures[chosen], judged, logits, eps_levels)

    def _attack(self, attack: Attack | Ascent, eps_levels: float) -> None:
        """Run an attack at a radius on what stands."""
        eps = eps_levels * LEVEL
        for number, chosen in enumerate(self._standing()):

            def work(chosen: Tensor = chosen) -> Outcome:
                with counted(self.detector) as cost:
                    candidates = self._find(attack, chosen, eps)
                    pictures, logits = self._judged(chosen, candidates, eps, gradients=attack.knowledge != "black box")
                return {"candidates": candidates, "pictures": pictures, "logits": logits, **vars(cost)}

            outcome = self._kept(f"{eps_levels!r}-{attack.name}-{number}", work)
            found = outcome["candidates"], outcome["pictures"], outcome["logits"]
            self._take(attack.name, chosen, *found, eps_levels)
            self._count(attack.name, eps_levels, len(chosen), outcome)

    def _find(self, attack: Attack | Ascent, chosen: Tensor, eps: float) -> Tensor:
        images, labels = self.images[chosen], self.labels[chosen]
        if isinstance(attack, Attack):
            return attack(self.detector, images, labels, eps)
        # One quality at which an image falls says little about the next, and an adaptive step takes the draws for
        # oscillation.
        noisy: dict[str, Any] = {"leave": False, "step_rule": FixedStep} if self.domain.name == "jpeg" else {}
        few = int(self.standing.sum()) <= FEW * len(self.images)
        change = self.candidates[chosen] - images
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
        names = [self.targets.sample_ids[index] for index in chosen.tolist()]
        images, labels, detector = self.images[chosen], self.labels[chosen], self.detector if gradients else None
        pictures = self.domain.final(self.norm, eps, images, candidates, detector, labels, names, self.wanted)
        with torch.no_grad():
            return pictures, self.detector(pictures)

    def _take(
        self, name: str, chosen: Tensor, candidates: Tensor, pictures: Tensor, logits: Tensor, eps_levels: float
    ) -> None:
        """Keep pictures of standing images where they are better than what was known.

        Best is a picture that has fallen, then one that is wrong, then one nearer to falling. Towards a wanted class an
        image may be wrong and stand: it stays wrong at every larger radius, however near a right picture may come.
        """
        labels, shown = self.labels[chosen], self.logits[chosen]
        lead, wrong = self._lead(logits, labels), logits.argmax(dim=1) != labels
        nearer = lead < self.lead[chosen]
        rows = chosen[nearer]
        self.candidates[rows], self.lead[rows] = candidates[nearer], lead[nearer]
        was_wrong = shown.argmax(dim=1) != labels
        better = torch.where(wrong == was_wrong, lead < self._lead(shown, labels), wrong)
        rows = chosen[better]
        self.pictures[rows], self.logits[rows] = pictures[better], logits[better]
        fallen = chosen[lead <= 0]
        self.standing[fallen] = False
        self.fell_to[fallen.numpy()] = name
        self.fell_at[fallen] = eps_levels * LEVEL

    def _lead(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return by how much an image is away from falling, ``(n,)``; at 0 or less it has fallen."""
        if self.wanted is None:
            lead, fallen = margins(logits, labels), logits.argmax(dim=1) != labels
        else:
            wanted = torch.full_like(labels, self.wanted)
            lead, fallen = -margins(logits, wanted), logits.argmax(dim=1) == wanted
        # A tie is what argmax says it is, and so is a lead that is no number.
        return torch.where(fallen, lead.nan_to_num(0).clamp_max(0), lead.nan_to_num(1).clamp_min(1e-30))

    def _standing(self) -> Sequence[Tensor]:
        """Return the indices of what stands, in batches."""
        chosen = self.standing.nonzero().flatten()
        return chosen.split(self.engine.batch_size) if len(chosen) else ()

    def _count(self, attack: str, eps_levels: float, attacked: int, outcome: Outcome) -> None:
        cost = {name: outcome[name] for name in ("forward", "backward", "seconds")}
        point = {"norm": self.norm, "domain": self.domain.name, "attack": attack, "eps_levels": eps_levels}
        self.costs.append({**point, "attacked": attacked, **cost})

    def _tell(self, attack: str, knowledge: str, eps_levels: float) -> None:
        """Add the rows of a point."""
        point = {"attack": attack, "knowledge": knowledge, "norm": self.norm, "domain": self.domain.name}
        rows = judged(self.targets, self.pictures, self.logits).assign(**point, eps_levels=eps_levels)
        self.rows.append(rows.assign(fell_to=self.fell_to.copy())[COLUMNS])
