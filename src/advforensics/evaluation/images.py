"""The images that a sweep evaluates a detector on."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.store.reading import PatchDataset, PatchStore


@dataclass(frozen=True)
class EvaluationSet:
    """The images that are attacked.

    Attributes:
        images: ``(N, C, H, W)``, float in [0, 1], whole levels.
        labels: ``(N,)``.
        sample_ids: Patch ids, length N.
        groups: Content hashes of the photographs they were cut from, length N.
        patches: How many patches lie side by side in an image.
    """

    images: Tensor
    labels: Tensor
    sample_ids: Sequence[str]
    groups: Sequence[str]
    patches: int = 1


def select_images(
    store: PatchStore, trained: TrainedDetector, split: str, images: int | None, together: int = 1
) -> EvaluationSet:
    """Return the images to attack, a fair sample of classes and scenes however few.

    Args:
        store: The patch store.
        trained: The detector, whose classes and patch shape must be the store's.
        split: ``train``, ``val`` or ``test``.
        images: How many; ``None`` for all.
        together: Patches of a picture, side by side, that make an image ``(C, H, together * W)``.

    Raises:
        ValueError: If the detector was trained on other classes or another patch shape, or no picture has so many
            patches.
    """
    if (store.classes, store.shape) != (trained.classes, trained.shape):
        raise ValueError(
            f"the detector was trained on {trained.classes} at {trained.shape}, but {store.folder} holds"
            f" {store.classes} at {store.shape}; give the store it was trained on, or train on this one"
        )
    dataset = PatchDataset(store, split)
    chosen = dataset.balanced_stacks(images, together)
    patches, labels = dataset[chosen.ravel()]
    first = dataset.manifest.iloc[chosen[:, 0]]
    return EvaluationSet(
        images=side_by_side(patches, together),
        labels=labels[::together],
        sample_ids=first["patch_id"].tolist(),
        groups=first["group"].tolist(),
        patches=together,
    )


def side_by_side(patches: Tensor, number: int) -> Tensor:
    """Lay patches ``(N * number, C, H, W)`` side by side, those that follow each other: ``(N, C, H, number * W)``."""
    images: Tensor = patches.unflatten(0, (-1, number)).movedim(1, 3).flatten(3)
    return images


def apart(images: Tensor, number: int) -> Tensor:
    """Take patches apart that lie side by side: ``(N, C, H, number * W)`` to ``(N * number, C, H, W)``."""
    patches: Tensor = images.unflatten(3, (number, -1)).movedim(3, 1).flatten(0, 1)
    return patches
