"""Build a patch store: cut labelled patches out of pictures, and split them by scene.

A patch store is a folder::

    manifest.parquet     one row per patch: its picture, licence, class, split, and the parameters of its operation
    pictures.parquet     one row per picture and class: content hash, annotation, file metadata and appearance
    audit.json           the leak audit
    store.json           task, class names, patch shape, how patches were cut, hashes of manifest and shards
    provenance.json      the code and the settings that made it
    rejected.csv         files of the source that were not used, and why
    figures/             what the classes look like
    patches-0000.npy ... shards, ``uint8`` of shape ``(n, C, size, size)``, rows in the order of the manifest
"""

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from advforensics.persistence.provenance import commit, sha256
from advforensics.sources.base import Source
from advforensics.store.appearance import near_duplicates
from advforensics.store.cutting import Cutter
from advforensics.store.leak_audit import audit
from advforensics.store.reading import FORMAT
from advforensics.store.shards import Shards, write_manifest
from advforensics.store.splitting import SPLITS, assign_splits, by_unseen_device, merge_groups
from advforensics.store.workers import cut_candidates
from advforensics.tasks.base import Task

log = logging.getLogger(__name__)

ORIGIN = ["picture", "group", "source_class", "scene", "device", "licence"]
COLUMNS = ["content", *ORIGIN, "own_split", "series", "taken_at", "places", "versions"]


def build(
    source: Source,
    task: Task,
    cutter: Cutter,
    folder: Path,
    settings: str,
    draw: Callable[[Path], None] = lambda store: None,
    workers: int = 1,
) -> dict[str, Any]:
    """Build a patch store in ``folder``, a photograph per worker in memory; return the content of ``store.json``.

    Exact copies of earlier pictures and pictures that cannot be cut are rejected. The store appears under its name only
    when it is complete, and then replaces an older one. A killed build goes on at its last shard and ends with the same
    bytes, if source, settings and code are the same. ``settings`` are the config of source, task and cutter; ``draw``
    draws figures into the store before it is moved to its place. At most ``workers`` processes read and cut; no byte
    depends on how many.

    Raises:
        ChildProcessError: If one of them ended early.
        FileExistsError: If the folder holds anything but an older store.
        ValueError: If no picture is left, a split has fewer photographs of a class than ``cutter.min_photographs``, or
            the own splits of a data set leave one empty.
    """
    own_splits = source.own_splits
    if None not in own_splits and not {"train", "test"} <= own_splits:  # before anything is read
        raise ValueError(
            f"all pictures lie in the own split {' or '.join(sorted(filter(None, own_splits)))} of the data set, but a"
            " store needs pictures for training and testing. Give a folder that holds both splits"
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / "store.json").is_file():
        raise FileExistsError(f"{folder} holds something that is not a patch store; give store=FOLDER another folder")
    part = folder.with_name(folder.name + ".unfinished")
    shards = Shards(part, source=source.identity, cutter=str(cutter), settings=settings)
    unfinished = shards.folder
    _add_candidates(source, task, cutter, shards, workers)
    pictures = pd.DataFrame(shards.pictures, columns=COLUMNS)
    pairs = near_duplicates([versions[0]["perceptual_hash"] for versions in pictures["versions"]])
    duplicates = [(pictures["picture"][first], pictures["picture"][second]) for first, second in pairs]
    pictures, left_out = _split_pictures(pictures.assign(group=merge_groups(pictures, pairs)), task, cutter)
    rejected = pd.concat([pd.DataFrame(shards.rejected, columns=["name", "reason"]), left_out], ignore_index=True)
    rejected.to_csv(unfinished / "rejected.csv", index=False)
    rejections = f"{len(rejected)} rejected, see {unfinished}/rejected.csv"
    if pictures.empty:
        raise ValueError(f"no patch in {len(source)} files, most often: {rejected['reason'].mode()[0]} ({rejections})")
    if fewer := int((pictures["places"] < cutter.per_photograph).sum()):
        log.warning(
            "%s: %d of %d pictures give fewer than %d patches of each class: small or mostly flat",
            *(folder, fewer, len(pictures), cutter.per_photograph),
        )
    versions = pictures.explode("versions", ignore_index=True)
    versions = versions.drop(columns="versions").join(pd.DataFrame(versions["versions"].tolist()))
    classes = task.classes_of(set(versions["class"]))
    photographs = versions.pivot_table("group", "split", "class", aggfunc="nunique", fill_value=0)
    photographs = photographs.reindex(index=list(SPLITS), columns=list(classes), fill_value=0)
    _require_photographs(photographs, pictures, cutter, rejections)
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
        "files": {  # so that a copy elsewhere can be checked
            path.name: sha256(path) for path in sorted([unfinished / "manifest.parquet", *unfinished.glob("*.npy")])
        },
    }
    versions.to_parquet(unfinished / "pictures.parquet", index=False)
    found = audit(versions, classes, duplicates)
    for warning in found["warnings"]:
        log.warning("%s: %s", folder, warning)
    provenance = {"code": commit(), "settings": settings}
    for name, content in (("audit", found), ("store", metadata), ("provenance", provenance)):
        (unfinished / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(unfinished)
    shards.delete_progress()
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return metadata


def _add_candidates(source: Source, task: Task, cutter: Cutter, shards: Shards, workers: int) -> None:
    """Add what the remaining candidates give, in their order; of equal pictures the first."""
    names = {picture["content"]: picture["picture"] for picture in shards.pictures}
    start, end = shards.next_candidate, len(source)
    with closing(cut_candidates(source, task, cutter, range(start, end), names, workers)) as all_cuttings:
        progress = tqdm(all_cuttings, "photographs", end, initial=start, disable=None)
        for number, cuttings in enumerate(progress, start):
            if cuttings.content in names:
                shards.reject(cuttings.name, f"duplicate of {names[cuttings.content]}")
            elif cuttings.reason is not None:
                shards.reject(cuttings.name, cuttings.reason)
            else:
                names[cuttings.content] = cuttings.name
                shards.add(cuttings.picture, cuttings.patches)
            shards.complete(number)
    shards.flush()


def _split_pictures(pictures: pd.DataFrame, task: Task, cutter: Cutter) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return pictures with their splits, and names and reasons of the pictures that are left out."""
    scenes = pictures.groupby("source_class")["group"].nunique()
    rare = pictures["source_class"].isin(scenes.index[scenes < task.min_scenes])
    reasons = [
        f"one of {scenes[name]} scenes of {name}, task.min_scenes is {task.min_scenes}"
        for name in pictures["source_class"][rare]
    ]
    too_few = pd.DataFrame({"name": pictures["picture"][rare], "reason": reasons})
    pictures = pictures[~rare].reset_index(drop=True)
    pictures["split"] = assign_splits(pictures, cutter.val, cutter.test, cutter.min_photographs)
    unseen = by_unseen_device(pictures, task.unseen_devices)
    for_testing = pd.DataFrame({"name": pictures["picture"][unseen]}).assign(reason="by a device kept for testing")
    return pictures[~unseen].reset_index(drop=True), pd.concat([too_few, for_testing], ignore_index=True)


def _require_photographs(photographs: pd.DataFrame, pictures: pd.DataFrame, cutter: Cutter, rejections: str) -> None:
    """Refuse counts by split and class that are too low, and say how many photographs would be enough."""
    minimum = cutter.min_photographs
    if pictures["own_split"].notna().any():
        advice = "The own splits of the data set are kept: give more pictures of the split that lacks them"
    elif pictures["source_class"].notna().any():
        advice = f"{len(SPLITS) * minimum} scenes of a class are usually enough: give more"
    else:
        # Twice the expected need, since hashes decide and splits of few photographs are uneven.
        needed = round(2 * minimum / min(1 - cutter.val - cutter.test, cutter.val, cutter.test))
        advice = f"About {needed} photographs are usually enough: give more"
    for name, counts in photographs.items():
        if (counts < minimum).any():
            by_split = ", ".join(f"{split} {count}" for split, count in counts.items())
            raise ValueError(
                f"too few usable photographs: {counts.sum()} of class {name} ({by_split}; {rejections}), but every"
                f" split needs {minimum}. {advice}, or lower patches.min_photographs"
            )
