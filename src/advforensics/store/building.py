"""Cut labelled patches out of pictures, split them by photograph, store them with a manifest.

A patch store is a folder::

    manifest.parquet     one row per patch: where it came from, its licence, and what was done to it
    pictures.parquet     one row per picture and class: content hash, origin, what file and a glance tell
    audit.json           whether that gives the class away
    store.json           task, class names, patch shape, how patches were cut
    provenance.json      the code and the settings that made it
    rejected.csv         files of the source that were not used, and why
    figures/             what the classes look like
    patches-0000.npy ... shards, ``uint8`` of shape ``(n, C, size, size)``, rows in the order of the manifest
"""

import json
import logging
import shutil
from collections.abc import Callable, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from advforensics.persistence.provenance import commit
from advforensics.sources.base import Picture, Rejection, Source, UnusableError
from advforensics.store.appearance import appearance
from advforensics.store.cutting import Cutter, corner, cut, shrink
from advforensics.store.leak_audit import audit
from advforensics.store.manifest import write_manifest
from advforensics.store.near_duplicates import near_duplicates
from advforensics.store.reading import FORMAT
from advforensics.store.shards import Row, Shards
from advforensics.store.splitting import SPLITS, joined, split, unseen
from advforensics.tasks.base import Task

log = logging.getLogger(__name__)

ORIGIN = ["picture", "group", "source_class", "scene", "device", "licence"]
ONLY_TESTS = "by a device that is kept for testing"
PICTURE = ["content", *ORIGIN, "own_split", "series", "taken_at", "places", "versions"]


def build(
    source: Source,
    task: Task,
    cutter: Cutter,
    folder: Path,
    settings: str,
    draw: Callable[[Path], None] = lambda store: None,
) -> dict[str, Any]:
    """Build a patch store, one photograph in memory at a time.

    The store appears under its name only when it is complete. A build that was killed goes on at the shard it was at,
    and ends with the same bytes, if source, settings and code are still the same.

    Args:
        source: Pictures; an exact copy of one that was there before is rejected, and what cannot be cut.
        task: Their labelled versions.
        cutter: Where and what to cut.
        folder: Where the store goes; an older one there is replaced.
        settings: What source, task and cutter were made from.
        draw: Draws figures into a store that is complete but for them.

    Returns:
        The content of ``store.json``.

    Raises:
        FileExistsError: If the folder holds anything but an older store.
        ValueError: If no picture is left, or a split would hold fewer photographs of a class than
            ``cutter.min_photographs``; says how many there are.
    """
    _require_splits(source.own_splits)
    if folder.exists() and any(folder.iterdir()) and not (folder / "store.json").is_file():
        raise FileExistsError(f"{folder} holds something that is not a patch store; give store=FOLDER another folder")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shards = Shards(unfinished, source=source.identity, cutter=str(cutter), settings=settings)
    seen = {picture["content"]: picture["picture"] for picture in shards.pictures}
    candidates = tqdm(range(shards.next, len(source)), "photographs", len(source), initial=shards.next, disable=None)
    for candidate in candidates:
        # Never bound to a variable that outlives a turn, which would keep a picture alive while the next one is read.
        _take(source.read(candidate), seen, task, cutter, shards)
        shards.passed(candidate)
    shards.flush()
    pictures = pd.DataFrame(shards.pictures, columns=PICTURE)
    pairs = near_duplicates([versions[0]["perceptual_hash"] for versions in pictures["versions"]])
    duplicates = [(pictures["picture"][first], pictures["picture"][second]) for first, second in pairs]
    pictures, left_out = _chosen(pictures.assign(group=joined(pictures, pairs)), task, cutter)
    rejected = pd.concat([pd.DataFrame(shards.rejected, columns=["name", "reason"]), left_out], ignore_index=True)
    rejected.to_csv(unfinished / "rejected.csv", index=False)
    if pictures.empty:
        raise ValueError(
            f"no patch in {len(source)} files, most often for this reason: {rejected['reason'].mode()[0]}"
            f" ({len(rejected)} rejected, see {unfinished}/rejected.csv)"
        )
    fewer = int((pictures["places"] < cutter.per_photograph).sum())
    if fewer:
        log.warning(
            "%s: %d of %d pictures give fewer than %d patches of each class: small or mostly flat",
            *(folder, fewer, len(pictures), cutter.per_photograph),
        )
    shown = pictures.explode("versions", ignore_index=True)
    shown = shown.drop(columns="versions").join(pd.DataFrame(shown["versions"].tolist()))
    classes = task.classes_of(set(shown["class"]))
    photographs = shown.pivot_table("group", "split", "class", aggfunc="nunique", fill_value=0)
    photographs = photographs.reindex(index=list(SPLITS), columns=list(classes), fill_value=0)
    _require_photographs(photographs, pictures, cutter, f"{len(rejected)} rejected, see {unfinished}/rejected.csv")
    origin = pictures[["content", *ORIGIN, "split"]]
    patches = write_manifest(unfinished / "manifest.parquet", shards.rows(), origin, classes)
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "task": task.name,
        "classes": list(classes),
        "null_first": task.null_first,
        "shape": [3 if cutter.colour == "rgb" else 1, cutter.size, cutter.size],
        "photographs": {name: pictures["group"][pictures["split"] == name].nunique() for name in SPLITS},
        "patches": {name: patches[name] for name in SPLITS},
        "rejected": len(rejected),
        "cutter": asdict(cutter),
    }
    shown.to_parquet(unfinished / "pictures.parquet", index=False)
    found = audit(shown, classes, duplicates)
    (unfinished / "audit.json").write_text(json.dumps(found, indent=2) + "\n")
    for warning in found["warnings"]:
        log.warning("%s: %s", folder, warning)
    (unfinished / "store.json").write_text(json.dumps(metadata, indent=2) + "\n")
    (unfinished / "provenance.json").write_text(json.dumps({"code": commit(), "settings": settings}, indent=2) + "\n")
    draw(unfinished)
    shards.tidy()
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return metadata


def _take(found: Picture | Rejection, seen: dict[str, str], task: Task, cutter: Cutter, shards: Shards) -> None:
    """Cut one picture, unless there is a reason against it."""
    if isinstance(found, Picture) and found.content in seen:
        found = Rejection(found.name, f"duplicate of {seen[found.content]}")
    if isinstance(found, Rejection):
        shards.reject(asdict(found))
        return
    try:
        picture = shrink(found, cutter.short_side) if cutter.short_side is not None else found
        versions, patches = _cut(picture, task, cutter)
    except UnusableError as error:
        shards.reject({"name": found.name, "reason": str(error)})
        return
    except cv2.error as error:  # too wide for a JPEG file, for one
        shards.reject({"name": found.name, "reason": f"cannot be worked on: {error.err} in {error.func}"})
        return
    row = {"picture": picture.name, "content": picture.content, "group": picture.group, "licence": picture.licence}
    seen[picture.content] = picture.name
    shards.add(
        {**row, **asdict(picture.annotation), "places": len(patches) // len(versions), "versions": versions}, patches
    )


def _cut(
    picture: Picture, task: Task, cutter: Cutter
) -> tuple[list[dict[str, Any]], list[tuple[Row, NDArray[np.uint8]]]]:
    """Return what each version of a picture looks like, and rows and patches ``(C, size, size)`` of all of them."""
    places = cutter.places(picture)
    # What an operation does to a picture is what is asked; what a source has put before us may give it away.
    common = asdict(appearance(picture.pixels)) if picture.annotation.source_class is None else None
    versions: list[dict[str, Any]] = []
    patches: list[tuple[int, Row, NDArray[np.uint8]]] = []
    again: set[int] = set()
    for version in task.versions(picture, cutter.seed):
        seen = common or asdict(appearance(version.pixels))
        versions.append({"class": version.class_name, **version.file_metadata, **seen})
        corners = [corner(version.pixels, place, cutter.size) for place in places]
        again.update(number for number, pixel in enumerate(corners) if pixel in corners[:number])
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
    # Places that an operation lays onto each other are left out of all versions: classes stay balanced.
    return versions, [(row, patch) for number, row, patch in patches if number not in again]


def _chosen(pictures: pd.DataFrame, task: Task, cutter: Cutter) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return pictures with their splits, and names and reasons of those that no split can use."""
    rare = _rare(pictures, task.least_scenes)
    pictures = pictures[~pictures["picture"].isin(rare["name"])].reset_index(drop=True)
    pictures["split"] = split(pictures, cutter.val, cutter.test, cutter.min_photographs)
    testing = unseen(pictures, task.unseen_devices)
    only_tests = pd.DataFrame({"name": pictures["picture"][testing]}).assign(reason=ONLY_TESTS)
    return pictures[~testing].reset_index(drop=True), pd.concat([rare, only_tests], ignore_index=True)


def _rare(pictures: pd.DataFrame, least: int) -> pd.DataFrame:
    """Return names of pictures, and the reason, whose class has too few scenes to be in every split."""
    scenes = pictures.groupby("source_class")["group"].nunique()
    few = pictures[pictures["source_class"].isin(scenes.index[scenes < least])]
    reasons = [f"one of {scenes[answer]} scenes of {answer}, a class needs {least}" for answer in few["source_class"]]
    return pd.DataFrame({"name": few["picture"], "reason": reasons})


def _require_splits(own: Set[str | None]) -> None:
    """Refuse a data set whose own splits leave one empty, before anything is read."""
    if None not in own and not {"train", "test"} <= own:
        raise ValueError(
            f"all pictures lie in the data set's own split {' or '.join(sorted(filter(None, own)))}, which is kept; a"
            " store needs pictures to train on and to test on. Give a folder that holds both"
        )


def _require_photographs(photographs: pd.DataFrame, pictures: pd.DataFrame, cutter: Cutter, rejected: str) -> None:
    """Refuse counts by split and class that are too low, and tell what would be enough."""
    least = cutter.min_photographs
    if pictures["own_split"].notna().any():
        enough = "The data set's own splits are kept: give more pictures of the split that lacks them"
    elif pictures["source_class"].notna().any():
        enough = f"{len(SPLITS) * least} scenes of a class are enough as a rule; give more"
    else:
        # Twice the mean need, since the content hash decides and so the split of few photographs is uneven.
        needed = round(2 * least / min(1 - cutter.val - cutter.test, cutter.val, cutter.test))
        enough = f"About {needed} photographs are enough as a rule; give more"
    for name, counts in photographs.items():
        if (counts < least).any():
            told = ", ".join(f"{split} {count}" for split, count in counts.items())
            raise ValueError(
                f"too few usable photographs: {counts.sum()} of class {name} ({told}; {rejected}), but every split"
                f" needs {least}. {enough}, or lower patches.min_photographs"
            )
