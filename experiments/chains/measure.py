"""Which share of forged pictures outlives a chain that the forger does not know, with and without expectation?

python -m experiments.chains.measure PICTURES OUT.csv OVERRIDES... (of `advforensics audit`)
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from tqdm import tqdm

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.chain import Chain
from advforensics.attacks.losses import margin
from advforensics.attacks.steps import AdaptiveStep, FixedStep
from advforensics.attacks.threat_model import LEVEL, to_8bit
from advforensics.audit import _of_pictures, _photos
from advforensics.cli.main import config_dir
from advforensics.evaluation.pictures import PictureParts, choose_pictures, classes_of
from advforensics.evaluation.received import received_logits
from advforensics.targets.loading import load
from advforensics.targets.question import Question

RADII = (2, 4)
STEPS = 60


def ways(
    domain: Chain, eps: float, images: Tensor, labels: Tensor, detector: nn.Module
) -> Iterator[tuple[str, Tensor]]:
    """Yield candidates by each way of making them, all by projected gradient ascent on the margin."""
    attack = Ascent("ascent", "linf", margin, STEPS)

    def whole(candidates: Tensor, indices: Tensor) -> Tensor:
        return candidates - candidates.detach() + to_8bit("linf", eps, images[indices], candidates.detach())

    def chained(candidates: Tensor, indices: Tensor) -> Tensor:
        return domain.deliver("linf", eps, images[indices], candidates)

    yield "until it falls", attack(detector, images, labels, eps, deliver=whole)
    for name, deliver, rule in (("all steps", whole, AdaptiveStep), ("expectation", chained, FixedStep)):
        torch.manual_seed(0)
        yield name, attack(detector, images, labels, eps, deliver=deliver, early_stopping=False, step_rule=rule)


def main(pictures: str, out: str, *overrides: str) -> None:
    """Attack each picture in each way, and write whether its file is still wrong after its chain."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("audit", ["ensemble=chain", f"pictures={pictures}", f"folder={Path(out).parent}", *overrides])
    photos, null = _photos(cfg)
    classes = classes_of(photos, null)
    trained = load(cfg.target, Question(cfg.task, classes, (3, cfg.first_side, cfg.first_side), None))
    trained = _of_pictures(trained, classes, cfg)
    table, _ = choose_pictures(photos, trained.classes, cfg.images, None, Path(f"{out}.pictures.csv"))
    domain = instantiate(cfg.ensemble.domains.chain, folder=f"{out}.files")
    parts, rows = PictureParts(photos, table, 1), []
    for number in tqdm(range(len(parts))):
        part = parts[number]
        images, labels = part.images, part.labels
        clean = received_logits(trained.detector, domain, images, images).argmax(dim=1)
        for radius in RADII:
            for way, candidates in ways(domain, radius * LEVEL, images, labels, trained.detector):
                files = domain.final("linf", radius * LEVEL, images, candidates, None, labels, part.sample_ids)
                with torch.no_grad():
                    sent = int(trained.detector(files).argmax())
                got = int(received_logits(trained.detector, domain, images, files).argmax())
                facts = {"picture": part.sample_ids[0], "group": part.groups[0], "label": int(labels)}
                rows.append({**facts, "levels": radius, "way": way, "clean": int(clean), "sent": sent, "received": got})
        pd.DataFrame(rows).to_csv(out, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
