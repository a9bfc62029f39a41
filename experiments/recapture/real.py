"""Detectors on pictures that none was trained on: ``python -m experiments.recapture.real STORE CHECKPOINT... > FILE``.

All patches of a store, whatever their split; a picture's verdict is the mean of its patches' logits. Balanced accuracy
with 95% intervals by bootstrap over scenes, and the share of pictures that are called recaptured, by class.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch

from advforensics.checkpoint import load_checkpoint
from advforensics.data import PatchDataset, PatchStore
from advforensics.robustness.intervals import Bootstrap
from advforensics.splitting import SPLITS

BATCH = 128


def main(folder: Path, checkpoints: list[Path]) -> None:
    """Write a row for each detector and for patches and pictures."""
    store = PatchStore(folder)
    table = csv.writer(sys.stdout)
    head = ["store", "defense", "unit", "number", "balanced_accuracy", "low", "high"]
    table.writerow([*head, "real_called_recaptured", "recaptured_called_recaptured"])
    for path in checkpoints:
        trained = load_checkpoint(path)
        logits, labels, groups, pictures = [], [], [], []
        for split in SPLITS:
            dataset = PatchDataset(store, split)
            for rows in np.array_split(np.arange(len(dataset)), max(1, len(dataset) // BATCH)):
                with torch.no_grad():
                    logits.append(trained.detector(dataset[rows][0]).numpy())
            labels.append(dataset.labels.numpy())
            groups.append(dataset.manifest["group"].to_numpy())
            pictures.append(dataset.manifest["content"].to_numpy())
        scores, answers = np.concatenate(logits), np.concatenate(labels)
        scenes, of = np.concatenate(groups), np.concatenate(pictures)
        names, first, number = np.unique(of, return_index=True, return_inverse=True)
        pooled = np.stack([scores[number == index].mean(axis=0) for index in range(len(names))])
        for unit, said, answer, scene in (
            ("patch", scores.argmax(axis=1), answers, scenes),
            ("picture", pooled.argmax(axis=1), answers[first], scenes[first]),
        ):
            found = Bootstrap(scene).balanced_accuracy(said == answer, answer).interval()
            shares = [f"{(said[answer == label] == 1).mean():.3f}" for label in (0, 1)]
            numbers = [f"{value:.4f}" for value in (found.estimate, found.low, found.high)]
            table.writerow([store.folder.name, trained.defense, unit, len(answer), *numbers, *shares])


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
