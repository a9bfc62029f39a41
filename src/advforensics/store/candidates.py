"""Candidates: what one picture of a source gives to a store, its patches or the reason why it gives none."""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from advforensics.sources.base import Picture, Rejection, Source, UnusableError
from advforensics.store.appearance import appearance
from advforensics.store.cutting import Cutter, corner, cut, shrink
from advforensics.tasks.base import Task

Row = Mapping[str, Any]
Patches = list[tuple[Row, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Cuttings:
    """What a candidate gives.

    Attributes:
        name: Its name.
        content: Hash of its content; empty if it is no picture.
        reason: Why it gives no patches; ``None`` if it gives some.
        picture: Its row in the table of pictures.
        patches: Its patches, each ``(C, size, size)`` with its row.
    """

    name: str
    content: str
    reason: str | None
    picture: Row
    patches: Patches


def cut_candidate(source: Source, task: Task, cutter: Cutter, known: Container[str], number: int) -> Cuttings:
    """Read candidate ``number`` and cut its patches, but not if its content is ``known``: it is a copy then."""
    return _cut(source.read(number), task, cutter, known)


def _cut(candidate: Picture | Rejection, task: Task, cutter: Cutter, known: Container[str]) -> Cuttings:
    if isinstance(candidate, Rejection):
        return Cuttings(candidate.name, "", candidate.reason, {}, [])
    try:
        if candidate.content in known:
            raise UnusableError("duplicate")
        picture = shrink(candidate, cutter.short_side) if cutter.short_side is not None else candidate
        versions, patches = _cut_versions(picture, task, cutter)
    except UnusableError as error:
        return Cuttings(candidate.name, candidate.content, str(error), {}, [])
    except cv2.error as error:  # too wide for a JPEG file, for one
        reason = f"cannot be processed: {error.err} in {error.func}"
        return Cuttings(candidate.name, candidate.content, reason, {}, [])
    row = {"picture": picture.name, "content": picture.content, "group": picture.group, "licence": picture.licence}
    places = len(patches) // len(versions)
    row_with_versions = {**row, **asdict(picture.annotation), "places": places, "versions": versions}
    return Cuttings(picture.name, picture.content, None, row_with_versions, patches)


def _cut_versions(picture: Picture, task: Task, cutter: Cutter) -> tuple[list[dict[str, Any]], Patches]:
    """Return a row for each version of a picture, and all patches ``(C, size, size)`` with their rows."""
    places = cutter.places(picture)
    # An operation may change the appearance, and that is no leak. If the source gives the classes, it may be one.
    common = appearance(picture.pixels) if picture.annotation.source_class is None else None
    versions: list[dict[str, Any]] = []
    patches: list[tuple[int, Row, NDArray[np.uint8]]] = []
    colliding: set[int] = set()
    for version in task.versions(picture, cutter.seed):
        visible = common or appearance(version.pixels)
        versions.append({"class": version.class_name, **version.file_metadata, **visible})
        corners = [corner(version.pixels, place, cutter.size) for place in places]
        colliding.update(number for number, pixel in enumerate(corners) if pixel in corners[:number])
        for number, (y, x) in enumerate(corners):
            patch = cut(version.pixels, places[number], cutter.size)
            channels = patch if cutter.colour == "rgb" else patch[..., 1:2]
            row: Row = {
                "patch_id": f"{picture.content[:16]}-{version.operation}-{number:03d}",
                "content": picture.content,
                "class": version.class_name,
                "operation": version.operation,
                "parameters": json.dumps(dict(version.parameters)),
                "y": y,
                "x": x,
            }
            patches.append((number, row, np.ascontiguousarray(channels.transpose(2, 0, 1))))
    if not patches:
        raise UnusableError(f"flat: no place varies by {cutter.min_std} levels")
    # Places that coincide in one version are left out of all versions, so that classes stay balanced.
    return versions, [(row, patch) for number, row, patch in patches if number not in colliding]
