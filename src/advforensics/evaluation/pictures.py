"""The pictures of a labelled folder, at their own size: another provider of images for the same engine."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from advforensics.evaluation.images import EvaluationSet, pictures_of
from advforensics.persistence.atomic import atomic
from advforensics.sources.base import Annotation, Picture, Rejection
from advforensics.sources.photos import Photos

PIXELS = 2**24  # in a part, at most: with what attacks keep of them, some hundred bytes each
SAMPLED = 128  # pictures for alarms and examples, at most
SMALL = 0.25  # share of the chosen pictures that a sample leaves out because a side of theirs is shorter
NAME_LENGTH = 60
COLUMNS = ["number", "name", "sample_id", "class", "label", "group", "height", "width"]


class PictureParts:
    """Pictures of a folder in parts of one size each, smaller sizes first.

    Args:
        photos: The folder.
        table: What `choose_pictures` returns.
        most: Pictures in a part, at most.
    """

    def __init__(self, photos: Photos, table: pd.DataFrame, most: int) -> None:
        self._photos, self._table = photos, table
        self._rows = list(_in_parts(table, most))

    @property
    def number(self) -> int:
        """How many pictures there are."""
        return len(self._table)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> EvaluationSet:
        return self._read(self._rows[number])

    def sample(self) -> EvaluationSet:
        """Return the middles of the first pictures, cut to one size, that of the smallest but for a quarter of them."""
        table = self._table
        height, width = (int(table[side].quantile(SMALL, interpolation="lower")) for side in ("height", "width"))
        large = np.flatnonzero((table["height"] >= height) & (table["width"] >= width))
        return self._read(large[: max(2, min(SAMPLED, PIXELS // (height * width)))], (height, width))

    def _read(self, rows: NDArray[np.int64], size: tuple[int, int] | None = None) -> EvaluationSet:
        chosen = self._table.iloc[rows]
        where = zip(chosen["number"], chosen["height"], chosen["width"], strict=True)
        pixels = pictures_of([self._pixels(number, height, width, size) for number, height, width in where])
        labels, ids, groups = torch.tensor(chosen["label"].to_numpy()), chosen["sample_id"], chosen["group"]
        return EvaluationSet(pixels, labels, ids.tolist(), groups.tolist())

    def _pixels(self, number: int, height: int, width: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """Return a picture, ``(H, W, 3)``, or the middle of it."""
        picture = self._photos.read(number)
        if isinstance(picture, Rejection) or picture.pixels.shape[:2] != (height, width):
            reason = picture.reason if isinstance(picture, Rejection) else "its size changed"
            raise ValueError(f"{picture.name}: {reason}, since the evaluation began; begin again with whole pictures")
        if size is None:
            return picture.pixels
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        return picture.pixels[top : top + size[0], left : left + size[1]]


def classes_of(photos: Photos, null: str | None) -> tuple[str, ...]:
    """Return the classes of a folder's pictures, sorted by name, with the class of unaltered pictures first.

    Raises:
        ValueError: If there are fewer than two, or none is the class that the config names.
    """
    found = {note.source_class for note in photos.annotations if isinstance(note, Annotation)} - {None}
    names = sorted(name for name in found if name is not None)
    if len(names) < 2:
        raise ValueError(
            f"{photos.folder} has pictures of {len(names)} classes ({', '.join(names) or 'none'}): a detector is judged"
            " on two or more. Put them into a folder for each class, or give the layout of a data set: source=NAME"
        )
    if null is not None and null not in names:
        raise ValueError(f"pristine={null}: the classes of {photos.folder} are {', '.join(names)}")
    return tuple(sorted(names, key=lambda name: (name != null, name)))


def choose_pictures(
    photos: Photos, classes: Sequence[str], images: int | None, split: str | None, kept: Path
) -> tuple[pd.DataFrame, list[Rejection]]:
    """Choose pictures, evenly over classes and scenes, and look at each whole: none is dropped in silence.

    Classes take turns. Of a class, scenes come in the order of their hashes, so that twins of a scene come together,
    and each scene gives one picture before one gives two.

    Args:
        photos: The folder.
        classes: The classes, by label.
        images: How many; ``None`` for all.
        split: The data set's own split to take; ``None`` for all.
        kept: CSV file that keeps the choice, so that a run that goes on does not decode everything again.

    Returns:
        A row for each picture, in the order of the choice, and the files that were tried and cannot be used.

    Raises:
        ValueError: If a class has no picture that can be read.
    """
    rejected = kept.with_name(f"rejected-{kept.name}")
    if kept.is_file():
        table = pd.read_csv(kept, dtype={"name": str, "sample_id": str, "class": str, "group": str})
        refused = pd.read_csv(rejected, dtype=str)
        return table, [Rejection(name, reason) for name, reason in refused.itertuples(index=False)]
    waiting = [_ordered(photos, name, split) for name in classes]
    rows, rejections = list[dict[str, object]](), list[Rejection]()
    with tqdm(total=images, desc="pictures", unit="picture", disable=None) as progress:
        while any(waiting) and (images is None or len(rows) < images):
            for label, numbers in enumerate(waiting):
                picture = _next(photos, numbers, rejections)
                if picture is not None and (images is None or len(rows) < images):
                    rows.append(_row(*picture, label, classes[label]))
                    progress.update()
    table = pd.DataFrame(rows, columns=COLUMNS)
    if missing := [name for label, name in enumerate(classes) if not (table["label"] == label).any()]:
        why = "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in rejections[:3])
        of_split = f" in the split {split}" if split else ""
        raise ValueError(f"{photos.folder} has no picture{of_split} of {', '.join(missing)} that can be read. {why}")
    for path, content in ((rejected, pd.DataFrame(rejections, columns=["name", "reason"])), (kept, table)):
        with atomic(path) as temporary:
            content.to_csv(temporary, index=False)
    return table, rejections


def _ordered(photos: Photos, source_class: str, split: str | None) -> list[int]:
    """Return the numbers of a class's pictures, in turns over scenes."""
    scenes = defaultdict[str, list[int]](list)
    for number, (name, note) in enumerate(zip(photos.names, photos.annotations, strict=True)):
        if isinstance(note, Annotation) and note.source_class == source_class and split in (None, note.own_split):
            scenes[hashlib.sha256((note.scene or name).encode()).hexdigest()].append(number)
    turns = [(turn, scene, number) for scene, numbers in scenes.items() for turn, number in enumerate(numbers)]
    return [number for *_, number in sorted(turns)]


def _next(photos: Photos, numbers: list[int], rejections: list[Rejection]) -> tuple[int, Picture] | None:
    """Return the next picture that can be read, and take it and those before it from the list."""
    while numbers:
        number = numbers.pop(0)
        picture = photos.read(number)
        if isinstance(picture, Picture):
            return number, picture
        rejections.append(picture)
    return None


def _row(number: int, picture: Picture, label: int, source_class: str) -> dict[str, object]:
    height, width = picture.pixels.shape[:2]
    plain = re.sub(r"[^A-Za-z0-9]+", "-", picture.name)[-NAME_LENGTH:].strip("-")
    sample_id = f"{plain}-{hashlib.sha256(picture.name.encode()).hexdigest()[:8]}"
    values = (number, picture.name, sample_id, source_class, label, picture.group, height, width)
    return dict(zip(COLUMNS, values, strict=True))


def _in_parts(table: pd.DataFrame, most: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each part: pictures of one size, as many as the number of their pixels allows."""
    sizes = table[["height", "width"]].to_numpy()
    for height, width in np.unique(sizes, axis=0):
        rows = np.flatnonzero((sizes == (height, width)).all(axis=1))
        size = max(1, min(most, PIXELS // int(height * width)))
        yield from np.split(rows, range(size, len(rows), size))
