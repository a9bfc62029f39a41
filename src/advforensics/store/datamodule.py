"""The splits of a patch store as a Lightning data module."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler

from advforensics.store.files import CACHE_GIB, GIB
from advforensics.store.reading import Batch, PatchDataset, PatchStore

GPU_WORKERS = 2  # a batch takes 1 ms to read, and a step on a GPU little more
Augment = Callable[[Tensor, Tensor], Tensor]


class TrainingPatches(PatchDataset):
    """The training split, augmented.

    ``augment`` takes images ``(N, C, H, W)``, ``uint8``, and a random integer for each, and returns such images.
    """

    def __init__(self, store: PatchStore, augment: Augment | None) -> None:
        super().__init__(store, "train")
        self._augment = augment

    def __getitem__(self, batch: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Batch:  # type: ignore[override]
        """Return images and labels as a `PatchDataset` does, for a batch of `TrainingOrder`."""
        indices, draws = batch
        images = self.patches(indices)
        if self._augment is not None:
            images = self._augment(images, torch.from_numpy(draws))
        return images.float().div_(255), self.labels[torch.from_numpy(indices)]


class TrainingOrder(Sampler[tuple[NDArray[np.int64], NDArray[np.int64]]]):
    """The indices of each training batch, and a random integer for the augmentation of each image.

    Both depend on seed and epoch alone, so that a training that was interrupted goes on with the same batches.
    Processes that train together share every batch: they see the images that one process would see.

    A store that is larger than memory, or than the cache of a remote one, must not be read all over at once. So an
    epoch goes through its shards in windows: the shards in random order, so many at a time, and the patches of these in
    random order. A store of one window is shuffled as a whole. When a window begins, it and the next one are announced.

    Args:
        shard: Number of the shard of each training image, ``(N,)``.
        window: Shards in a window.
        batch_size: Images in a step, of all processes together.
        seed: Seeds the order and the integers.
        replays: Times that each batch comes in a row; the number of steps in an epoch stays the same.
        rank, processes: Number of this process, and of all.
        announce: Called with the numbers of the shards that will be needed soon.
    """

    def __init__(
        self,
        shard: NDArray[np.int64],
        window: int,
        batch_size: int,
        seed: int,
        replays: int = 1,
        rank: int = 0,
        processes: int = 1,
        announce: Callable[[NDArray[np.int64]], None] = lambda shards: None,
    ) -> None:
        self.shard, self.window, self.announce = shard, window, announce
        self.batch_size, self.seed, self.replays = batch_size, seed, replays
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.shard) // self.batch_size

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield indices and integers, each ``(N,)``; the last images, which fill no batch, are left out."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order, draws = rng.permutation(len(self.shard)), rng.integers(2**31, size=len(self.shard))
        window = rng.permutation(self.shard.max() + 1) // self.window  # of each shard
        order = order[np.argsort(window[self.shard[order]], kind="stable")]
        announced = -1
        for step in range(len(self)):
            first = step // self.replays * self.batch_size
            if (upcoming := int(window[self.shard[order[first]]]) + 1) > announced:
                soon = np.flatnonzero((window > announced) & (window <= upcoming))
                self.announce(soon[np.argsort(window[soon], kind="stable")])
                announced = upcoming
            mine = slice(first + self.rank, first + self.batch_size, self.processes)
            yield order[mine], draws[mine]


class PatchData(pl.LightningDataModule):
    """The three splits of a store.

    Args:
        store: The store's folder or address.
        batch_size, seed, replays: As for `TrainingOrder`.
        augment: Training augmentation, or ``None``; see :class:`TrainingPatches`.
        workers: Processes that load batches; 0 loads in the training process itself, ``auto`` does on a CPU and takes
            `GPU_WORKERS` elsewhere.
        shuffle_gib: Size of a window of shards; see :class:`TrainingOrder`.
    """

    def __init__(
        self,
        store: str | Path,
        batch_size: int,
        augment: Augment | None,
        seed: int,
        replays: int = 1,
        workers: int | Literal["auto"] = 0,
        shuffle_gib: float = 4,
    ) -> None:
        super().__init__()
        self.store = PatchStore(store)
        self.batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self._replays = replays
        self._workers = workers
        self._window_bytes = shuffle_gib * GIB

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled, augmented batches of equal size.

        Raises:
            ValueError: If the split has fewer images than a batch, processes cannot share a batch evenly, or the cache
                of a store at an address cannot hold two windows.
        """
        dataset = TrainingPatches(self.store, self._augment)
        if len(dataset) < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size} exceeds the {len(dataset)} patches to train on")
        rank, processes = self._rank()
        if self.batch_size % processes:
            raise ValueError(f"batch_size={self.batch_size} cannot be shared evenly by {processes} processes")
        window = max(1, int(self._window_bytes / dataset.shard_bytes))
        cached, shards = self.store.files.most, int(dataset.shard.max()) + 1
        if cached is not None and min(2 * window, shards) * dataset.shard_bytes > cached:
            raise ValueError(
                f"shuffle_gib={self._window_bytes / GIB:g}: the cache holds {cached / GIB:g} GiB, not two windows of"
                f" that size, so shards would be copied again and again: lower shuffle_gib or raise {CACHE_GIB}"
            )
        order = TrainingOrder(
            *(dataset.shard, window, self.batch_size, self._seed, self._replays, rank, processes, dataset.fetch)
        )
        return self._loader(dataset, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation split in the order of the manifest; processes share it."""
        return self.batches("val", *self._rank())

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test split in the order of the manifest; processes share it."""
        return self.batches("test", *self._rank())

    def batches(self, split: str, rank: int = 0, processes: int = 1) -> DataLoader[Batch]:
        """Return a process' share of a split, in the order of the manifest."""
        dataset = PatchDataset(self.store, split)
        mine = range(rank, len(dataset), processes)
        return self._loader(dataset, BatchSampler(mine, self.batch_size, drop_last=False))

    def _rank(self) -> tuple[int, int]:
        """Return the number of this process, and of all processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: PatchDataset, batches: Sampler[Any]) -> DataLoader[Batch]:
        workers = self._workers
        if workers == "auto":
            workers = GPU_WORKERS if self.trainer and self.trainer.strategy.root_device.type != "cpu" else 0
        return DataLoader(
            dataset,
            sampler=batches,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # for a seed that a DataLoader draws and never uses
        )
