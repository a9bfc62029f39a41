"""Patches of a store as batches of tensors."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Targets:
    """The images a sweep attacks.

    Attributes:
        images: ``(N, C, H, W)``, float in [0, 1], whole levels.
        labels: ``(N,)``.
        sample_ids: Patch ids, length N.
        groups: Content hashes of the photographs they were cut from, length N.
    """

    images: Tensor
    labels: Tensor
    sample_ids: Sequence[str]
    groups: Sequence[str]


class PatchStore:
    """A patch store on disk, opened for reading.

    Args:
        folder: What ``advforensics prepare`` has written.

    Attributes:
        facts: The content of ``store.json``.
        classes: Class names by label.
        shape: Shape of a patch, ``(C, H, W)``.

    Raises:
        FileNotFoundError: If there is no finished store in the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "store.json").is_file():
            raise FileNotFoundError(f"no patch store in {self.folder}: run `advforensics prepare store={folder}` first")
        self.facts: dict[str, Any] = json.loads((self.folder / "store.json").read_text())
        self.classes: tuple[str, ...] = tuple(self.facts["classes"])
        channels, height, width = self.facts["shape"]
        self.shape: tuple[int, int, int] = (channels, height, width)

    def manifest(self, split: str) -> pd.DataFrame:
        """Return the manifest rows of a split, in the order of its patches."""
        manifest = pd.read_parquet(self.folder / "manifest.parquet")
        return manifest[manifest["split"] == split].reset_index(drop=True)


class PatchDataset(Dataset[Batch]):
    """One split of a store. Shards are memory-mapped: nothing is read before it is asked for.

    Args:
        store: The store.
        split: ``train``, ``val`` or ``test``.
        augment: An albumentations transform of an ``(H, W, C)`` picture that moves pixels without resampling them.
    """

    def __init__(self, store: PatchStore, split: str, augment: A.BasicTransform | A.Compose | None = None) -> None:
        self.manifest = store.manifest(split)
        self.labels = torch.tensor(self.manifest["label"].to_numpy(), dtype=torch.int64)
        shards = {name: np.load(store.folder / name, mmap_mode="r") for name in self.manifest["shard"].unique()}
        self._rows: list[tuple[NDArray[np.uint8], int]] = [
            (shards[shard], index) for shard, index in zip(self.manifest["shard"], self.manifest["index"], strict=True)
        ]
        self._augment = augment

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Return one image ``(1, C, H, W)`` and its label ``(1,)``."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return images, float in [0, 1], ``(N, C, H, W)``, and labels ``(N,)``: a whole batch at once."""
        patches = [self._patch(index) for index in indices]
        images = torch.from_numpy(np.stack(patches)).to(torch.float32).div_(255)
        return images, self.labels[indices]

    def _patch(self, index: int) -> NDArray[np.uint8]:
        shard, row = self._rows[index]
        patch: NDArray[np.uint8] = shard[row]
        if self._augment is None:
            return patch
        picture = np.ascontiguousarray(patch.transpose(1, 2, 0))
        return np.ascontiguousarray(self._augment(image=picture)["image"].transpose(2, 0, 1))


def _as_is(batch: Any) -> Any:
    """Take a batch as `PatchDataset.__getitems__` has made it, where the default would stack samples."""
    return batch


class PatchData(pl.LightningDataModule):
    """A store's three splits as Lightning asks for them.

    Args:
        store: The store's folder.
        batch_size: Images in a step.
        augment: Training augmentation, or ``None``; see :class:`PatchDataset`.
        seed: Seeds the order of training images and the augmentation.
    """

    def __init__(self, store: str | Path, batch_size: int, augment: A.BasicTransform | None, seed: int) -> None:
        super().__init__()
        self.store = PatchStore(store)
        self.batch_size = batch_size
        self._seed = seed
        self._augment = A.Compose([augment], seed=seed) if augment is not None else None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled, augmented batches; the last, smaller one is dropped so that steps are alike.

        Raises:
            ValueError: If the split does not fill one batch.
        """
        dataset = PatchDataset(self.store, "train", self._augment)
        if len(dataset) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size} exceeds the {len(dataset)} patches to train on")
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            collate_fn=_as_is,
            generator=torch.Generator().manual_seed(self._seed),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation split in the order of the manifest."""
        return self.batches("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test split in the order of the manifest."""
        return self.batches("test")

    def batches(self, split: str) -> DataLoader[Batch]:
        """Return a split as it is stored, in the order of its manifest rows."""
        return DataLoader(PatchDataset(self.store, split), batch_size=self.batch_size, collate_fn=_as_is)
