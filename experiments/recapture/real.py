"""Detectors on pictures that none was trained on: ``python -m experiments.recapture.real STORE CHECKPOINT... > FILE``.

All patches of a store, whatever their split; a picture's verdict is the mean of its patches' logits. Balanced accuracy
with 95% intervals by bootstrap over scenes; the share that is called recaptured, by class; and the area under the ROC
curve, which is what another threshold could make of it. One such is tried: above all that the detector says of pictures
of the world of other scenes.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch

from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.statistics.intervals import Bootstrap
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.store.splitting import SPLITS

BATCH = 128


def main(folder: Path, checkpoints: list[Path]) -> None:
    """Write a row for each detector and for patches and pictures."""
    store = PatchStore(folder)
    table = csv.writer(sys.stdout)
    head = ["store", "detector", "unit", "number", "balanced_accuracy", "low", "high"]
    table.writerow([*head, "real_called_recaptured", "recaptured_called_recaptured", "auroc"])
    for path in checkpoints:
        trained = load_checkpoint(path)
        logits, labels, shown, pictures = [], [], [], []
        for split in SPLITS:
            dataset = PatchDataset(store, split)
            for rows in np.array_split(np.arange(len(dataset)), max(1, len(dataset) // BATCH)):
                with torch.no_grad():
                    logits.append(trained.detector(dataset[rows][0]).numpy())
            labels.append(dataset.labels.numpy())
            shown.append(dataset.manifest["group"].to_numpy())
            pictures.append(dataset.manifest["content"].to_numpy())
        scores, answers = np.concatenate(logits), np.concatenate(labels)
        scenes, of = np.concatenate(shown), np.concatenate(pictures)
        names, first, number = np.unique(of, return_index=True, return_inverse=True)
        pooled = np.stack([scores[number == index].mean(axis=0) for index in range(len(names))])
        margins, margin = scores[:, 1] - scores[:, 0], pooled[:, 1] - pooled[:, 0]
        answer, scene = answers[first], scenes[first]
        # Above all pictures of the world that others have: what a user can set who has no recaptured picture.
        own = np.array([margin[(scene != other) & (answer == 0)].max() for other in scene])
        for unit, score, said, truth, groups in (
            ("patch", margins, margins > 0, answers, scenes),
            ("picture", margin, margin > 0, answer, scene),
            ("picture, own threshold", margin, margin > own, answer, scene),
        ):
            bootstrap = Bootstrap(groups)
            found = bootstrap.balanced_accuracy(said == truth, truth).interval()
            shares = [f"{said[truth == label].mean():.3f}" for label in (0, 1)]
            numbers = [f"{value:.4f}" for value in (found.estimate, found.low, found.high)]
            area = f"{bootstrap.auroc(score, truth == 1, resamples=0).estimate:.3f}"
            table.writerow([store.folder.name, path.parent.name, unit, len(truth), *numbers, *shares, area])


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
