"""One camera's residual on another's picture: ``python -m experiments.camera.fingerprint CHECKPOINT STORE > FILE``.

The fingerprint copy-move attack on camera identification (Wang, Zhao, Wang, Dai, Li, Guo, "Adversarial Analysis for
Source Camera Identification", 2021) as far as its abstract goes: what a high-pass filter leaves of a picture of the
camera one would like to have used replaces what it leaves of one's own. It needs no gradient, no query and no model.

For each test picture (patches of ``STORE``) and each other class, the residual of a patch of that class, of another
scene where there is one, is put in place of the patch's own, at several strengths; 1 replaces it altogether.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.store.reading import PatchDataset, PatchStore

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
PATCHES = 300
BATCH = 100


def high_pass(images: Tensor) -> Tensor:
    """Return what a mean over 3 x 3 pixels takes away from ``(N, C, H, W)``."""
    return images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), 3, stride=1)


def main(checkpoint: Path, folder: Path) -> None:
    """Write a row for each strength: accuracy, how often the answer is the camera that was copied, and the change."""
    trained, store = load_checkpoint(checkpoint), PatchStore(folder)
    dataset = PatchDataset(store, "test")
    chosen = np.array(dataset.balanced(PATCHES))
    images, labels = dataset[chosen]
    groups = dataset.manifest["group"].to_numpy()
    rng = np.random.default_rng(0)
    donors, wanted = [], []
    for index, label in zip(chosen, labels.tolist(), strict=True):
        camera = rng.choice([other for other in range(len(store.classes)) if other != label])
        others = np.flatnonzero((dataset.labels.numpy() == camera) & (groups != groups[index]))
        donors.append(int(rng.choice(others)))
        wanted.append(camera)
    theirs = high_pass(dataset[donors][0])
    own = high_pass(images)
    table = csv.writer(sys.stdout)
    table.writerow(["defense", "strength", "patches", "accuracy", "said_copied", "rms_levels"])
    for strength in STRENGTHS:
        # Whole levels, as a file would have them.
        forged = ((images + strength * (theirs - own)).clamp(0, 1) * 255).round() / 255
        with torch.no_grad():
            said = torch.cat([trained.detector(batch) for batch in forged.split(BATCH)]).argmax(dim=1)
        change = 255 * float((forged - images).square().mean().sqrt())
        right, copied = float((said == labels).float().mean()), float((said == torch.tensor(wanted)).float().mean())
        table.writerow([trained.defense, strength, len(labels), f"{right:.4f}", f"{copied:.4f}", f"{change:.2f}"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
