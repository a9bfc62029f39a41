"""The splits of a patch store as Lightning asks for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler

from advforensics.store.reading import Batch, PatchDataset, PatchStore

Augment = Callable[[Tensor, Tensor], Tensor]


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
