"""Cut labelled patches out of pictures, split them by photograph, store them with a manifest.

A patch store is a folder::

    manifest.parquet     one row per patch: where it came from and what was done to it
    store.json           task, class names, patch shape, how it was made
    rejected.csv         files of the source that were not used, and why
    train-000.npy ...    shards, ``uint8`` of shape ``(n, C, size, size)``, rows in the order of the manifest
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from advforensics.cutting import Cutter, corner, cut, shrink
from advforensics.sources.base import Picture, Source
from advforensics.tasks.base import Task

SPLITS = ("train", "val", "test")
SHARD_PATCHES = 4096  # 50 MB of 64x64 RGB: what building holds in memory per split


def build(source: Source, task: Task, cutter: Cutter, folder: Path) -> dict[str, Any]:
    """Build a patch store, one photograph in memory at a time.

    The store appears under its name only when it is complete; a build that was killed leaves nothing that could be
    mistaken for one.

    Args:
        source: Pictures.
        task: Their labelled versions.
        cutter: Where and what to cut.
        folder: Where the store goes; an older one there is replaced.

    Returns:
        The content of ``store.json``.

    Raises:
        FileExistsError: If the folder holds anything but an older store.
        ValueError: If a picture is smaller than a patch, or a split would hold fewer photographs than
            ``cutter.min_photographs``; says how many there are.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "store.json").is_file():
        raise FileExistsError(f"{folder} holds something that is not a patch store; give store=FOLDER another folder")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    writers = {split: _ShardWriter(unfinished, split) for split in SPLITS}
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    photographs: Counter[str] = Counter()
    for picture in tqdm(source, total=len(source), desc="photographs", disable=None):
        if cutter.short_side is not None:
            picture = shrink(picture, cutter.short_side)
        if min(picture.pixels.shape[:2]) < cutter.size:
            raise ValueError(
                f"{picture.name} is {picture.pixels.shape[1]} x {picture.pixels.shape[0]} pixels when it is to be cut,"
                f" less than a patch of {cutter.size}; lower patches.size, or raise patches.short_side"
            )
        split = cutter.split(picture.group)
        before = len(rows[split])
        for row, patch in _patches(picture, task, cutter):
            shard, index = writers[split].add(patch)
            rows[split].append({**row, "split": split, "shard": shard, "index": index})
        photographs[split] += len(rows[split]) > before
    _write_rejected(source, unfinished / "rejected.csv")
    _require_photographs(photographs, cutter, len(source.rejected), unfinished / "rejected.csv")
    for writer in writers.values():
        writer.flush()
    manifest = pd.DataFrame([row for split in SPLITS for row in rows[split]])
    manifest.to_parquet(unfinished / "manifest.parquet", index=False)
    channels = 3 if cutter.colour == "rgb" else 1
    facts: dict[str, Any] = {
        "task": task.name,
        "classes": list(task.classes),
        "shape": [channels, cutter.size, cutter.size],
        "photographs": {split: photographs[split] for split in SPLITS},
        "patches": {split: len(rows[split]) for split in SPLITS},
        "rejected": len(source.rejected),
        "cutter": asdict(cutter),
    }
    (unfinished / "store.json").write_text(json.dumps(facts, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return facts


def _patches(picture: Picture, task: Task, cutter: Cutter) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8]]]:
    """Yield manifest rows and patches ``(C, size, size)`` of one picture."""
    places = cutter.places(picture)
    for version in task.versions(picture, cutter.seed):
        for number, place in enumerate(places):
            y, x = corner(version.pixels, place, cutter.size)
            patch = cut(version.pixels, place, cutter.size)
            channels = patch if cutter.colour == "rgb" else patch[..., 1:2]
            row = {
                "patch_id": f"{picture.group[:16]}-{version.operation}-{number:03d}",
                "group": picture.group,
                "picture": picture.name,
                "label": version.label,
                "class": task.classes[version.label],
                "operation": version.operation,
                "parameters": json.dumps(dict(version.parameters)),
                "y": y,
                "x": x,
            }
            yield row, np.ascontiguousarray(channels.transpose(2, 0, 1))


class _ShardWriter:
    """Collects patches of one split and writes a shard whenever enough have come together."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder
        self.split = split
        self.buffer: list[NDArray[np.uint8]] = []
        self.shards = 0

    def add(self, patch: NDArray[np.uint8]) -> tuple[str, int]:
        """Take a patch; return the shard it goes to and its row there."""
        if len(self.buffer) == SHARD_PATCHES:
            self.flush()
        self.buffer.append(patch)
        return self.name, len(self.buffer) - 1

    @property
    def name(self) -> str:
        return f"{self.split}-{self.shards:03d}.npy"

    def flush(self) -> None:
        if self.buffer:
            np.save(self.folder / self.name, np.stack(self.buffer))
            self.buffer.clear()
            self.shards += 1


def _write_rejected(source: Source, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "reason"])
        writer.writerows((rejection.name, rejection.reason) for rejection in source.rejected)


def _require_photographs(photographs: Counter[str], cutter: Cutter, rejected: int, listing: Path) -> None:
    short: Sequence[str] = [split for split in SPLITS if photographs[split] < cutter.min_photographs]
    if not short:
        return
    shares = {"train": 1 - cutter.val - cutter.test, "val": cutter.val, "test": cutter.test}
    # Twice the mean need, since the content hash decides and so the split of few photographs is uneven.
    needed = round(2 * cutter.min_photographs / min(shares.values()))
    counts = ", ".join(f"{split} {photographs[split]}" for split in SPLITS)
    raise ValueError(
        f"too few usable photographs: {sum(photographs.values())} ({counts}; {rejected} rejected, see {listing}), but"
        f" every split needs {cutter.min_photographs}. About {needed} photographs are enough as a rule; give more, or"
        " lower patches.min_photographs"
    )
