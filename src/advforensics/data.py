"""Patches of a store as batches of tensors."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

Batch = tuple[Tensor, Tensor]
Augment = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Targets:
    """The images a sweep attacks.

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


def side_by_side(patches: Tensor, number: int) -> Tensor:
    """Lay patches ``(N * number, C, H, W)`` side by side, those that follow each other: ``(N, C, H, number * W)``."""
    images: Tensor = patches.unflatten(0, (-1, number)).movedim(1, 3).flatten(3)
    return images


def apart(images: Tensor, number: int) -> Tensor:
    """Take patches apart that lie side by side: ``(N, C, H, number * W)`` to ``(N * number, C, H, W)``."""
    patches: Tensor = images.unflatten(3, (number, -1)).movedim(3, 1).flatten(0, 1)
    return patches


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
        return pd.read_parquet(self.folder / "manifest.parquet", filters=[("split", "==", split)])


class PatchDataset(Dataset[Batch]):
    """One split of a store. Shards are memory-mapped: nothing is read before it is asked for.

    Args:
        store: The store.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, store: PatchStore, split: str) -> None:
        self.manifest = store.manifest(split)
        self.labels = torch.tensor(self.manifest["label"].to_numpy(), dtype=torch.int64)
        self._shard, names = pd.factorize(self.manifest["shard"])
        self._row = self.manifest["index"].to_numpy()
        self._shards = [np.load(store.folder / name, mmap_mode="r") for name in names]
        self._shape = store.shape

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: ArrayLike) -> Batch:
        """Return images, float in [0, 1], ``(N, C, H, W)``, and labels ``(N,)``: a whole batch at once."""
        return self.patches(indices).float().div_(255), self.labels[torch.as_tensor(indices)]

    def spread(self, images: int | None) -> list[int]:
        """Return indices of so many images, evenly over photographs and classes; of all for ``None``."""
        indices: list[int] = self.stacks(images, 1)[:, 0].tolist()
        return indices

    def stacks(self, images: int | None, together: int) -> NDArray[np.int64]:
        """Return indices of patches that make an image together, evenly over photographs and classes.

        Args:
            images: How many; ``None`` for all.
            together: Patches of one picture, one class, that make an image.

        Returns:
            Shape ``(images, together)``.

        Raises:
            ValueError: If no picture has so many patches.
        """
        wholes = self.manifest.groupby(["content", "class", "operation"], sort=False)
        whole, position = wholes.ngroup().to_numpy(), wholes.cumcount().to_numpy()
        used = np.flatnonzero(position // together < np.bincount(whole)[whole] // together)
        if not len(used):
            raise ValueError(f"patches_per_picture={together}: no picture of the split has so many")
        stacks = used[np.lexsort((position[used], whole[used]))].reshape(-1, together)
        stacks = stacks[stacks[:, 0].argsort()]
        rank = self.manifest.iloc[stacks[:, 0]].groupby(["group", "label"], sort=False).cumcount().to_numpy()
        chosen: NDArray[np.int64] = stacks[rank.argsort(kind="stable")][:images]
        return chosen

    def patches(self, indices: ArrayLike) -> Tensor:
        """Return images as they are stored, ``uint8``, ``(N, C, H, W)``."""
        indices = np.asarray(indices)
        shard, row = self._shard[indices], self._row[indices]
        patches = np.empty((len(indices), *self._shape), np.uint8)
        for number in np.unique(shard):
            patches[shard == number] = self._shards[number][row[shard == number]]
        return torch.from_numpy(patches)


class TrainingPatches(PatchDataset):
    """The training split, augmented.

    Args:
        store: The store.
        augment: From images ``(N, C, H, W)``, ``uint8``, and a random whole number for each to images of that shape.
    """

    def __init__(self, store: PatchStore, augment: Augment | None) -> None:
        super().__init__(store, "train")
        self._augment = augment

    def __getitem__(self, drawn: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Batch:  # type: ignore[override]
        """Return images and labels as a `PatchDataset` does, for what a `TrainingOrder` has drawn."""
        indices, draws = drawn
        images = self.patches(indices)
        if self._augment is not None:
            images = self._augment(images, torch.from_numpy(draws))
        return images.float().div_(255), self.labels[torch.from_numpy(indices)]


class TrainingOrder(Sampler[tuple[NDArray[np.int64], NDArray[np.int64]]]):
    """Which images a step sees, and a random number for the augmentation of each.

    Both follow from seed and epoch alone, so a training that goes on after an interruption sees what it would have
    seen. Processes that train together share every batch among them: they see the pictures that one would have seen.

    Args:
        number: Training images.
        batch_size: Images in a step, of all processes together.
        seed: Of the order.
        replays: How often each batch comes in a row; an epoch has as many steps as ever, on fewer images.
        rank: Which process this is.
        processes: How many train together.
    """

    def __init__(
        self, number: int, batch_size: int, seed: int, replays: int = 1, rank: int = 0, processes: int = 1
    ) -> None:
        self.number, self.batch_size, self.seed, self.replays = number, batch_size, seed, replays
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells which epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.number // self.batch_size

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield indices and draws, each ``(N,)``; the last images, which fill no batch, are left out."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order, draws = rng.permutation(self.number), rng.integers(2**31, size=self.number)
        for step in range(len(self)):
            first = step // self.replays * self.batch_size
            mine = slice(first + self.rank, first + self.batch_size, self.processes)
            yield order[mine], draws[mine]


class PatchData(pl.LightningDataModule):
    """A store's three splits as Lightning asks for them.

    Args:
        store: The store's folder.
        batch_size: Images in a step, of all processes together.
        augment: Training augmentation, or ``None``; see :class:`TrainingPatches`.
        seed: Seeds the order of training images and the augmentation.
        replays: How often each training batch comes in a row.
        workers: Processes that load ahead; 0 loads in the training process itself.
    """

    def __init__(
        self,
        store: str | Path,
        batch_size: int,
        augment: Augment | None,
        seed: int,
        replays: int = 1,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.store = PatchStore(store)
        self.batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self._replays = replays
        self._workers = workers

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled, augmented batches, all of one size.

        Raises:
            ValueError: If the split does not fill one batch, or processes cannot share a batch evenly.
        """
        dataset = TrainingPatches(self.store, self._augment)
        if len(dataset) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size} exceeds the {len(dataset)} patches to train on")
        rank, processes = self._place()
        if self.batch_size % processes:
            raise ValueError(f"batch_size={self.batch_size} cannot be shared evenly by {processes} processes")
        order = TrainingOrder(len(dataset), self.batch_size, self._seed, self._replays, rank, processes)
        return self._loader(dataset, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation split in the order of the manifest; processes share it."""
        return self.batches("val", *self._place())

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test split in the order of the manifest; processes share it."""
        return self.batches("test", *self._place())

    def batches(self, split: str, rank: int = 0, processes: int = 1) -> DataLoader[Batch]:
        """Return a process' share of a split as it is stored, in the order of its manifest rows."""
        dataset = PatchDataset(self.store, split)
        mine = range(rank, len(dataset), processes)
        return self._loader(dataset, BatchSampler(mine, self.batch_size, drop_last=False))

    def _place(self) -> tuple[int, int]:
        """Return which process this is, and of how many."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: PatchDataset, batches: Sampler[Any]) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            sampler=batches,
            batch_size=None,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # an iterator draws a number it has no use for: not from the training's stream
        )
