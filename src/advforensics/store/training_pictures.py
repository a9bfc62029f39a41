"""The pictures that a store was cut from, and whether another picture is of their kind."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.sources.base import FileMetadata
from advforensics.store.reading import PatchDataset, PatchStore

PATCHES = 16  # of a picture for validation; pictures with fewer are left out
MANY = 4  # so many times larger or smaller than all others is another kind of picture, in pixels


def unlike_training(store: PatchStore, metadata: FileMetadata) -> list[str]:
    """Return in which ways a picture's file is unlike those that the training patches were cut from, in words.

    Args:
        store: What the detector was trained on.
        metadata: Of the picture, as `advforensics.sources.file_metadata.read_file_metadata` returns it.
    """
    pictures = store.read("pictures.parquet", pd.read_parquet)
    seen = pictures[pictures["split"] == "train"]
    width, height = int(metadata["width"]), int(metadata["height"])
    shrunk, found = store.metadata["cutter"]["short_side"], list[str]()
    if shrunk is not None and min(width, height) >= 2 * shrunk:
        found.append(
            f"the detector was trained on pictures shrunk to a shorter side of about {shrunk} pixels; this one has"
            f" {min(width, height)} and is judged as it is"
        )
    if "format" not in seen or seen["format"].isna().all():
        return [*found, "the detector was trained on simulated photographs"]
    formats = sorted(seen["format"].dropna().unique())
    if metadata["format"] not in formats:
        found.append(f"it is a {metadata['format']} file; the training pictures were {', '.join(formats)}")
    if shrunk is None:
        area, areas = width * height, seen["width"] * seen["height"]
        if not areas.min() / MANY <= area <= areas.max() * MANY:
            found.append(
                f"it has {area / 1e6:.2g} megapixels; the training pictures had {areas.min() / 1e6:.2g} to"
                f" {areas.max() / 1e6:.2g}"
            )
    qualities = seen.loc[seen["quality"] > 0, "quality"]
    if metadata["quality"] and len(qualities) and not qualities.min() <= metadata["quality"] <= qualities.max():
        found.append(
            f"its JPEG quality is {metadata['quality']:g}; that of the training pictures was {qualities.min():g} to"
            f" {qualities.max():g}"
        )
    return found


def validation_pictures(store: PatchStore) -> tuple[PatchDataset, NDArray[np.int64]]:
    """Return the validation split, and which of its patches lie in one picture: indices ``(N, patches)``."""
    dataset = PatchDataset(store, "val")
    most = dataset.manifest.groupby(["content", "class", "operation"]).size().max()
    return dataset, dataset.balanced_stacks(None, min(PATCHES, int(most)))
