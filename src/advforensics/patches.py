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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from advforensics.sources.base import Picture, Source
from advforensics.tasks.base import Task

SPLITS = ("train", "val", "test")
SHARD_PATCHES = 4096  # 50 MB of 64x64 RGB: what building holds in memory per split
Colour = Literal["green", "rgb"]


@dataclass(frozen=True)
class Cutter:
    """How patches are cut.

    Args:
        size: Side of a patch in pixels.
        short_side: Pictures are first shrunk, by the whole factor that brings their shorter side nearest to this many
            pixels; ``None`` leaves them as they are. See :func:`shrink`.
        per_photograph: Patches cut from each photograph, of every class.
        colour: ``green`` keeps one channel: the one a Bayer camera samples most and interpolates least.
        min_std: A place where the picture's own patch varies less than this (standard deviation, in levels) is not
            cut: on a clipped sky no operation leaves a trace, so no answer would be right.
        val: Share of photographs for validation.
        test: Share of photographs for testing.
        min_photographs: Fewest photographs that any split may have.
        seed: Seeds places and operation parameters; not the split, which the content of a photograph decides.

    Raises:
        ValueError: If the shares do not leave any photograph for training.
    """

    size: int
    short_side: int | None
    per_photograph: int
    colour: Colour
    min_std: float
    val: float
    test: float
    min_photographs: int
    seed: int

    def __post_init__(self) -> None:
        if not (self.val > 0 and self.test > 0 and self.val + self.test < 1):
            raise ValueError(f"patches.val={self.val} and patches.test={self.test} must be positive and sum below 1")

    def split(self, group: str) -> str:
        """Return the split of a photograph: its content hash as a fraction of all hashes, cut at the shares.

        A photograph therefore never changes its split, whatever is added beside it and whatever the seed.
        """
        position = int(group[:16], 16) / 16**16
        if position < self.test:
            return "test"
        return "val" if position < self.test + self.val else "train"

    def places(self, picture: Picture) -> NDArray[np.float64]:
        """Draw where to cut: corners of patches as fractions of the free range, shape ``(n, 2)``, y before x.

        Fractions, because an operation may change the size of the picture. Fewer than ``per_photograph`` come back
        when most of the picture is flat.
        """
        rng = np.random.default_rng([self.seed, int(picture.group[16:32], 16)])
        places: list[NDArray[np.float64]] = []
        for place in rng.uniform(size=(10 * self.per_photograph, 2)):
            if cut(picture.pixels, place, self.size)[..., 1].std() >= self.min_std:
                places.append(place)
                if len(places) == self.per_photograph:
                    break
        return np.array(places).reshape(-1, 2)


def cut(pixels: NDArray[np.uint8], place: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return the patch of shape ``(size, size, C)`` whose corner lies at fractions ``place`` of the free range."""
    y, x = corner(pixels, place, size)
    return pixels[y : y + size, x : x + size]


def corner(pixels: NDArray[np.uint8], place: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the pixel coordinates ``(y, x)`` of the corner at fractions ``place``."""
    height, width = pixels.shape[:2]
    return round(float(place[0]) * (height - size)), round(float(place[1]) * (width - size))


def shrink(picture: Picture, short_side: int) -> Picture:
    """Return a picture averaged over blocks of whole pixels, so that its shorter side comes nearest to ``short_side``.

    A photograph has a history before any question is asked: its camera has demosaiced, sharpened and compressed it. A
    patch of it would then be 'pristine' by name only. Averaging takes that history away, as the data sets of the
    field do (BOSSbase: Bas, Filler, Pevny, "Break Our Steganographic System", 2011), and is the same for all classes.
    A picture that is small already stays as it is.
    """
    height, width = picture.pixels.shape[:2]
    factor = round(min(height, width) / short_side)
    if factor < 2:
        return picture
    height, width = height // factor, width // factor
    whole_blocks = picture.pixels[: height * factor, : width * factor]
    shrunk = cv2.resize(whole_blocks, (width, height), interpolation=cv2.INTER_AREA)
    return replace(picture, pixels=shrunk.astype(np.uint8, copy=False))


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
        ValueError: If a split would hold fewer photographs than ``cutter.min_photographs``; says how many there are.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    writers = {split: _ShardWriter(unfinished, split) for split in SPLITS}
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    photographs: Counter[str] = Counter()
    for picture in tqdm(source, total=len(source), desc="photographs", disable=None):
        if cutter.short_side is not None:
            picture = shrink(picture, cutter.short_side)
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
