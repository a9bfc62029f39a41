"""Attack pictures just inside their certified radii, and set each certificate beside the radius that an attack finds.

python experiments/certificate/run.py FOLDER CHECKPOINT STORE [IMAGES]

writes one row per picture, norm and method into FOLDER/NAME.csv, batch by batch; started again it goes on. README.md
tells what was found.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torchattacks
from torch import Tensor, nn
from tqdm import tqdm

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.losses import cross_entropy, dlr
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.attacks.steps import FixedStep
from advforensics.attacks.threat_model import Norm, size
from advforensics.certificates.certified_radii import certify_linear, certify_smoothing
from advforensics.certificates.layers import layer_sequence
from advforensics.certificates.smoothing import ABSTAINS, Smoothed
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.images import select_images
from advforensics.store.reading import PatchStore

BATCH = 16
INSIDE = 0.999
VOTES_ON = 64  # the first so many pictures: votes cost the most


def main(folder: Path, checkpoint: Path, store: Path, images: int = 512) -> None:
    """Certify and attack one detector."""
    torch.manual_seed(0)
    trained = load_checkpoint(checkpoint)
    name = f"{trained.provenance()['task']}-{trained.provenance()['defense']}"
    path = folder / f"{name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    targets = select_images(PatchStore(store), trained, "test", images)[:]
    done = pd.read_csv(path) if path.is_file() else pd.DataFrame({"sample_id": []})
    network, smoothed = layer_sequence(trained.detector), Smoothed(trained.detector, sigma_levels=0.5)
    for first in tqdm(range(0, len(targets.labels), BATCH), desc=name, mininterval=30):
        batch = slice(first, first + BATCH)
        pictures, labels = targets.images[batch], targets.labels[batch]
        if set(targets.sample_ids[batch]) <= set(done["sample_id"]):
            continue
        linear = certify_linear(trained.detector, network, pictures, labels, ["linf", "l2"])
        voted = max(min(VOTES_ON - first, len(labels)), 0)
        votes = certify_smoothing(smoothed, pictures[:voted], labels[:voted], first)
        rows = pd.DataFrame(
            {"detector": name, "sample_id": targets.sample_ids[first + i], "group": targets.groups[first + i], **row}
            for i in range(len(labels))
            for row in linear[i] + (votes[i] if i < voted else [])
        )
        outcomes = []
        for _, part in rows.groupby(["norm", "method"], sort=False):
            norm, method = part["norm"].iloc[0], part["method"].iloc[0]
            radii = torch.tensor(part["radius_levels"].to_numpy() / 255, dtype=torch.float32).view(-1, 1, 1, 1)
            if method.startswith("smoothing"):
                outcome = attack_vote(smoothed, pictures[:voted], labels[:voted], radii, first)
            else:
                outcome = attack_detector(trained.detector, pictures, labels, radii, norm)
            outcomes.append(outcome.set_index(part.index))
        done = pd.concat([done, rows.join(pd.concat(outcomes))])
        done.to_csv(path.with_suffix(".part"), index=False)
        path.with_suffix(".part").replace(path)


def attack_detector(detector: nn.Module, images: Tensor, labels: Tensor, radii: Tensor, norm: Norm) -> pd.DataFrame:
    """Return how many attacks turn each image inside its radius, and the least radius that one needs, in levels."""
    nearest = MinimumNorm("fmn", norm, steps=100)(detector, images, labels)
    with torch.no_grad():
        turned = detector(nearest).argmax(dim=1) != labels
    needed = torch.where(turned, size(norm, nearest - images).flatten(), torch.inf)
    fell = (turned & (needed < radii.flatten())).int()
    # All balls are searched as the largest one; what is delivered is shrunk to the image's own.
    largest = float(radii.amax())
    share = INSIDE * radii / max(largest, 1e-12)

    def own_ball(candidates: Tensor, chosen: Tensor) -> Tensor:
        return images[chosen] + share[chosen] * (candidates - images[chosen])

    attacks = [
        Ascent("apgd_ce", norm, cross_entropy, 40, patient=True),
        Ascent("apgd_t", norm, dlr, 20, n_target_classes=3, patient=True),
        Ascent("pgd", norm, cross_entropy, 20, step_rule=FixedStep, patient=True),
    ]
    everyone = torch.arange(len(images))
    for attack in attacks:
        found = own_ball(attack(detector, images, labels, largest, deliver=own_ball), everyone)
        with torch.no_grad():
            fell += ((detector(found).argmax(dim=1) != labels) & (radii.flatten() > 0)).int()
    square = TorchAttack(
        "square", partial(torchattacks.Square, n_queries=50, norm={"linf": "Linf", "l2": "L2"}[norm]), norm
    )
    for i in (radii.flatten() > 0).nonzero().flatten().tolist():
        found = square(detector, images[i : i + 1], labels[i : i + 1], INSIDE * float(radii[i]))
        with torch.no_grad():
            fell[i] += int(detector(found).argmax(dim=1) != labels[i])
    return pd.DataFrame({"attacks_inside": fell.numpy(), "attack_levels": 255 * needed.numpy()})


def attack_vote(smoothed: Smoothed, images: Tensor, labels: Tensor, radii: Tensor, first: int) -> pd.DataFrame:
    """Attack the mean over noise, and judge by the vote: is one turned inside its radius, or within 4 times it?

    The radius that an attack needs is not sought any closer: each answer costs a thousand votes.
    """
    fell, needed = [], []
    attack = Ascent("apgd_ce", "l2", cross_entropy, 10, patient=True)
    for number, (image, label, radius) in enumerate(zip(images, labels, radii.flatten().tolist(), strict=True), first):
        least, inside = float("inf"), 0
        for share in (INSIDE, 4) if radius > 0 else ():
            found = attack(smoothed, image[None], label[None], share * radius)
            if smoothed.predict(found[0], number) not in (int(label), ABSTAINS):
                least, inside = 255 * share * radius, int(share <= 1)
                break
        fell.append(inside)
        needed.append(least)
    return pd.DataFrame({"attacks_inside": fell, "attack_levels": needed})


if __name__ == "__main__":
    into, detector, patches, *rest = sys.argv[1:]
    main(Path(into), Path(detector), Path(patches), *map(int, rest))
