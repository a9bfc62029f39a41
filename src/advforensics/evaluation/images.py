"""The images that a detector is evaluated on, read part by part: few or many, they take the same memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.store.reading import PatchDataset, PatchStore


@dataclass(frozen=True)
class EvaluationSet:
    """The images that are attacked.

    Attributes:
        images: ``(N, C, H, W)``, float in [0, 1], whole levels.
        labels: True classes, ``(N,)``.
        sample_ids: Patch ids, length N.
        groups: Hashes of their scenes, length N.
        patches: How many patches lie side by side in an image.
    """

    images: Tensor
    labels: Tensor
    sample_ids: Sequence[str]
    groups: Sequence[str]
    patches: int = 1

    def first(self, number: int) -> "EvaluationSet":
        """Return the first so many images."""
        images, labels = self.images[:number], self.labels[:number]
        return EvaluationSet(images, labels, self.sample_ids[:number], self.groups[:number], self.patches)


class ImageParts(Protocol):
    """All images of an evaluation, in parts, each of which fits into memory and has images of one shape."""

    @property
    def number(self) -> int:
        """How many images there are."""

    def __len__(self) -> int:
        """Return the number of parts."""

    def __getitem__(self, number: int) -> EvaluationSet:
        """Return the images of a part, always the same."""

    def sample(self) -> EvaluationSet:
        """Return some images of one shape, spread evenly over scenes and classes, for alarms and examples."""


class Selection:
    """The images chosen for an evaluation, in the order in which they are attacked; a slice of it reads some of them.

    Args:
        dataset: The split that they come from.
        indices: Which patches lie side by side in each image, ``(N, patches)``.
    """

    def __init__(self, dataset: PatchDataset, indices: NDArray[np.int64]) -> None:
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, part: slice) -> EvaluationSet:
        """Return the images of a part."""
        indices = self._indices[part]
        patches = indices.shape[1]
        pixels, labels = self._dataset[indices.flatten()]
        self._dataset.release()
        first = self._dataset.manifest.iloc[indices[:, 0]]
        sample_ids, groups = first["patch_id"].tolist(), first["group"].tolist()
        return EvaluationSet(side_by_side(pixels, patches), labels[::patches], sample_ids, groups, patches)


class StoreParts:
    """The images chosen from a patch store, in parts.

    Args:
        selection: The images.
        size: Images in a part.
    """

    def __init__(self, selection: Selection, size: int) -> None:
        self._selection, self._size = selection, size

    @property
    def number(self) -> int:
        """How many images there are."""
        return len(self._selection)

    def __len__(self) -> int:
        return -(-len(self._selection) // self._size)

    def __getitem__(self, number: int) -> EvaluationSet:
        return self._selection[number * self._size : (number + 1) * self._size]

    def sample(self) -> EvaluationSet:
        """Return the images of the first part: some hundreds, spread evenly over scenes and classes as all are."""
        return self[0]


def select_images(
    store: PatchStore, trained: TrainedDetector, split: str, images: int | None, patches: int = 1
) -> Selection:
    """Choose the images to attack, spread evenly over scenes and classes however few they are.

    Args:
        store: The patch store.
        trained: The detector, whose classes and patch shape must be the store's.
        split: ``train``, ``val`` or ``test``.
        images: How many; ``None`` for all.
        patches: How many patches of a picture, side by side, make an image ``(C, H, patches * W)``.

    Raises:
        ValueError: If the detector was trained on other classes or another patch shape, or no picture has so many
            patches.
    """
    if (store.classes, store.shape) != (trained.classes, trained.shape):
        raise ValueError(
            f"the detector was trained on {trained.classes} at {trained.shape}, but the store {store} holds"
            f" {store.classes} at {store.shape}; give the store it was trained on, or train on this one"
        )
    dataset = PatchDataset(store, split)
    return Selection(dataset, dataset.balanced_stacks(images, patches))


def pictures_of(pixels: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return pixels ``(H, W, 3)`` of pictures of one size as ``(N, 3, H, W)``, float in [0, 1]."""
    return torch.stack([torch.from_numpy(np.ascontiguousarray(one)).movedim(2, 0).float().div(255) for one in pixels])


def side_by_side(patches: Tensor, number: int) -> Tensor:
    """Lay each ``number`` consecutive patches side by side: ``(N * number, C, H, W)`` to ``(N, C, H, number * W)``."""
    images: Tensor = patches.unflatten(0, (-1, number)).movedim(1, 3).flatten(3)
    return images


def separate(images: Tensor, number: int) -> Tensor:
    """Separate patches that lie side by side: ``(N, C, H, number * W)`` to ``(N * number, C, H, W)``."""
    patches: Tensor = images.unflatten(3, (number, -1)).movedim(3, 1).flatten(0, 1)
    return patches
