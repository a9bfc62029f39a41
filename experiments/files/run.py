"""Do attacks survive being saved? ``python experiments/files/run.py CHECKPOINT STORE FOLDER`` writes results.csv here.

The loop is plain projected gradient descent on the margin, or on that of a target class,
with momentum where it says so: what is compared is the delivery, not the attack.
"""

import logging
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.domains import Domain, EightBit, Float, Jpeg, Png
from advforensics.attacks.files import reread
from advforensics.attacks.losses import margins
from advforensics.attacks.steps import steepest
from advforensics.attacks.threat_model import LEVEL, Norm, inside, project, to_8bit
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.images import select_images
from advforensics.statistics.intervals import Bootstrap
from advforensics.store.reading import PatchStore

log = logging.getLogger(__name__)

IMAGES, BATCH = 512, 64
RADII: dict[Norm, tuple[float, ...]] = {"linf": (1, 2, 4), "l2": (0.125, 0.25, 0.5, 1)}


def climb(
    detector: nn.Module,
    images: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    domain: Domain,
    *,
    steps: int = 20,
    momentum: float = 0.0,
    stop: bool = False,
    target_class: int | None = None,
) -> Tensor:
    """Return candidates after so many steps of a quarter of the radius, each image stopped at the border if wished."""
    found = []
    with attackable(detector):
        for batch, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            goal = None if target_class is None else torch.full_like(truth, target_class)
            pictures, speed = batch.clone(), torch.zeros_like(batch)
            climbing = torch.ones(len(batch), 1, 1, 1, dtype=torch.bool)
            for step in range(steps):
                pictures.requires_grad_()
                logits = detector(domain.deliver(norm, eps, batch, pictures))
                gain = -margins(logits, truth) if goal is None else margins(logits, goal)
                (gradient,) = torch.autograd.grad(gain.sum(), pictures)
                if stop:
                    climbing &= (margins(logits.detach(), truth) >= 0).view(-1, 1, 1, 1)
                speed = momentum * speed + steepest("l2", gradient)
                size = 0.25 * eps * (1 - step / steps if momentum else 1)
                moved = project(norm, eps, batch, pictures.detach() + size * steepest(norm, speed))
                pictures = torch.where(climbing, moved, pictures.detach())
            found.append(pictures)
    return torch.cat(found)


def said(detector: nn.Module, pictures: Tensor) -> Tensor:
    """Return the predicted classes, ``(N,)``."""
    with torch.no_grad():
        return torch.cat([detector(batch).argmax(dim=1) for batch in pictures.split(BATCH)])


class Experiment:
    """The images that are right when clean, and the rows found so far."""

    def __init__(self, checkpoint: str, store: str, folder: str) -> None:
        trained = load_checkpoint(checkpoint)
        targets = select_images(PatchStore(store), trained, "test", IMAGES)[:]
        self.detector, self.folder = trained.detector, Path(folder)
        right = (said(self.detector, targets.images) == targets.labels).nonzero().flatten()
        self.images, self.labels = targets.images[right], targets.labels[right]
        self.names = [targets.sample_ids[row] for row in right.tolist()]
        self.bootstrap = Bootstrap([targets.groups[row] for row in right.tolist()])
        self.photographs = len({targets.groups[row] for row in right.tolist()})
        self.rows: list[dict[str, object]] = []

    def note(self, question: str, norm: Norm, levels: float, way: str, among: str, fooled: Tensor, of: Tensor) -> None:
        """Add a row: the share of images ``of`` (a mask) that are ``fooled`` (a mask), with its interval."""
        score = self.bootstrap.ratio((fooled & of).numpy(), of.numpy()).interval()
        row = {"question": question, "norm": norm, "eps_levels": levels, "way": way, "among": among, **vars(score)}
        self.rows.append({**row, "images": int(of.sum()), "photographs": self.photographs})
        log.info("%s %s %g, %s (%s): %.3f", question, norm, levels, way, among, score.estimate)

    def final(self, domain: Domain, norm: Norm, eps: float, candidates: Tensor) -> Tensor:
        """Return what is judged."""
        return domain.final(norm, eps, self.images, candidates, self.detector, self.labels, self.names)

    def wrong(self, pictures: Tensor) -> Tensor:
        """Return which pictures turn the detector, ``(N,)``."""
        return said(self.detector, pictures) != self.labels

    def whole_levels(self, norm: Norm, levels: float) -> None:
        """Compare ways to whole levels, and read every PNG again."""
        eps, everyone = levels * LEVEL, torch.ones_like(self.labels, dtype=torch.bool)
        png = Png(self.folder / f"png-{levels:g}")
        loops = {
            "stops at the border": climb(self.detector, self.images, self.labels, norm, eps, Float(), stop=True),
            "all steps": climb(self.detector, self.images, self.labels, norm, eps, Float()),
            "all steps, sees its rounding": climb(self.detector, self.images, self.labels, norm, eps, EightBit()),
        }
        for loop, candidates in loops.items():
            nearest = (candidates * 255).round() / 255
            ways = {
                "float": self.wrong(candidates),
                "nearest levels": self.wrong(nearest) & inside(norm, eps, self.images, nearest),
                "levels fitted into the ball": self.wrong(to_8bit(norm, eps, self.images, candidates)),
            }
            counted = self.wrong(self.final(png, norm, eps, candidates))
            ways["and moved on along the lattice, as PNG"] = counted
            for way, fooled in ways.items():
                self.note("whole levels", norm, levels, f"{loop}: {way}", "right when clean", fooled, everyone)
            again = reread([png.folder / norm / f"{name}.png" for name in self.names])
            change = ((again - self.images) * 255).round().flatten(1)
            size = change.abs().amax(dim=1) if norm == "linf" else change.square().mean(dim=1).sqrt()
            holds = self.wrong(again) & (size <= levels + 1e-6)
            self.note("PNG read again", norm, levels, loop, "counted successes", holds, counted)

    def jpeg(self, levels: float) -> None:
        """Compare attacks after a JPEG step at a quality that none of them knew."""
        eps, domain = levels * LEVEL, Jpeg(self.folder / f"jpeg-{levels:g}")
        everyone = torch.ones_like(self.labels, dtype=torch.bool)
        climbed = partial(climb, self.detector, self.images, self.labels, "linf", eps, steps=40)
        unharmed = said(self.detector, self.final(domain, "linf", 0.0, self.images))
        ways = {
            "no attack": self.images,
            "all steps, rounded": climbed(Float()),
            "sees JPEG at any quality": climbed(domain, momentum=0.75),
        }
        for way, candidates in ways.items():
            fooled = self.wrong(self.final(domain, "linf", eps, candidates))
            self.note("JPEG", "linf", levels, way, "right when clean", fooled, everyone)
            self.note("JPEG", "linf", levels, way, "and right after JPEG alone", fooled, unharmed == self.labels)

    def pristine(self, levels: float) -> None:
        """Compare attacks that want the forged to look pristine after such a JPEG step."""
        eps, domain = levels * LEVEL, Jpeg(self.folder / f"pristine-{levels:g}")
        climbed = partial(climb, self.detector, self.images, self.labels, "linf", eps, steps=40)
        forged = self.labels != 0
        ways = {
            "no attack": self.images,
            "all steps, rounded": climbed(Float(), target_class=0),
            "sees JPEG at any quality": climbed(domain, momentum=0.75, target_class=0),
        }
        for way, candidates in ways.items():
            fooled = said(self.detector, self.final(domain, "linf", eps, candidates)) == 0
            self.note("JPEG, to look pristine", "linf", levels, way, "forged, right when clean", fooled, forged)


def main(checkpoint: str, store: str, folder: str) -> None:
    """Run everything and write ``results.csv`` beside this file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    experiment = Experiment(checkpoint, store, folder)
    for levels in (1.0, 2.0, 4.0):
        experiment.jpeg(levels)
        experiment.pristine(levels)
    for norm, radii in RADII.items():
        for levels in radii:
            experiment.whole_levels(norm, levels)
    table = pd.DataFrame(experiment.rows).round(4)
    table.to_csv(Path(__file__).parent / "results.csv", index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
