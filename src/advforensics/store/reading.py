"""Reading a patch store: its metadata, its manifest, and batches of its patches."""

import hashlib
import json
import mmap
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from advforensics.store.files import Folder, files_at

T = TypeVar("T")
Batch = tuple[Tensor, Tensor]
FORMAT = 2  # of a patch store; it goes up when a column or a file changes its name or meaning


class PatchStore:
    """A patch store that ``advforensics prepare`` has written, opened for reading.

    Args:
        place: Its folder, or an address that fsspec knows: ``s3://bucket/store``.

    Attributes:
        files: Where its files lie.
        metadata: The content of ``store.json``.
        classes: Class names by label.
        shape: Shape of a patch, ``(C, H, W)``.

    Raises:
        FileNotFoundError: If there is no finished store in the folder.
        ValueError: If the store is damaged, or of another format than this version reads.
    """

    def __init__(self, place: str | Path) -> None:
        self.files = files_at(place)
        again = self.files.advice("again")
        try:
            self.metadata: dict[str, Any] = json.loads(self.files.read("store.json"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(f"no patch store in {self}: {self.files.advice('first')}") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{self}/store.json is damaged ({error}): {again}") from error
        if (found := self.metadata.get("format")) != FORMAT:
            raise ValueError(f"{self} is a patch store of format {found or 1}, this version reads {FORMAT}: {again}")
        self.classes: tuple[str, ...] = tuple(self.metadata["classes"])
        channels, height, width = self.metadata["shape"]
        self.shape: tuple[int, int, int] = (channels, height, width)

    def __str__(self) -> str:
        return str(self.files)

    def manifest(self, split: str) -> pd.DataFrame:
        """Return the manifest rows of a split, in the order of its patches."""
        return self.read("manifest.parquet", lambda path: pd.read_parquet(path, filters=[("split", "==", split)]))

    def read(self, name: str, reader: Callable[[Path], T]) -> T:
        """Return what a reader makes of a file of the store.

        Raises:
            ValueError: If the file is missing or damaged.
        """
        try:
            return self.files.open(name, reader)
        except (OSError, ValueError) as error:  # pyarrow's and numpy's errors are among these
            raise ValueError(f"{self}/{name} is missing or damaged ({error}): {self.files.advice('again')}") from error

    def digest(self) -> str:
        """Return a SHA-256 (hex) of patches, manifest and ``store.json``: all that a detector can learn from."""
        digest = hashlib.sha256()
        for name, found in self.files.digests().items():
            digest.update(f"{name} {found}\n".encode())
        return digest.hexdigest()


class PatchDataset(Dataset[Batch]):
    """One split of a store: ``train``, ``val`` or ``test``. Memory-mapped shards are read when they are needed.

    Attributes:
        shard: Number of the shard of each patch, ``(N,)``.
        shard_bytes: Size of the largest shard.
    """

    def __init__(self, store: PatchStore, split: str) -> None:
        self.manifest = store.manifest(split)
        self.labels = torch.tensor(self.manifest["label"].to_numpy(), dtype=torch.int64)
        self.shard, self._names = pd.factorize(self.manifest["shard"])
        self._row = self.manifest["index"].to_numpy()
        self.shard_bytes = int((self._row.max(initial=0) + 1) * np.prod(store.shape))
        self._store, self._shape = store, store.shape
        self._classes = len(store.classes)
        self._open = OrderedDict[int, NDArray[np.uint8]]()
        if isinstance(store.files, Folder):  # a damaged one should be told of before any work
            for number in range(len(self._names)):
                self._opened(number)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: ArrayLike) -> Batch:
        """Return a batch: images, float in [0, 1], ``(N, C, H, W)``, and labels ``(N,)``."""
        return self.patches(indices).float().div_(255), self.labels[torch.as_tensor(indices)]

    def balanced(self, images: int | None) -> NDArray[np.int64]:
        """Return indices ``(N,)`` of so many patches, evenly over classes and scenes; ``None`` for all."""
        return self.balanced_stacks(images, 1)[:, 0]

    def balanced_stacks(self, images: int | None, patches_per_image: int) -> NDArray[np.int64]:
        """Return indices ``(N, patches_per_image)`` of patches, evenly over classes and scenes.

        Classes take turns, so that their counts differ by at most one until a class has no more. Each class uses all
        its scenes, and all its pictures of a scene, before it repeats one. If every scene has every class, N images
        come from N scenes, or from all of them. Scenes and pictures come in the order of their content hashes, which
        depend neither on names nor on classes.

        Args:
            images: How many; ``None`` for all.
            patches_per_image: How many patches of one picture and class make an image.

        Raises:
            ValueError: If no picture has so many patches.
        """
        versions = self.manifest.groupby(["content", "class", "operation"], sort=False)
        version, position = versions.ngroup().to_numpy(), versions.cumcount().to_numpy()
        used = np.flatnonzero(position // patches_per_image < np.bincount(version)[version] // patches_per_image)
        if not len(used):
            raise ValueError(f"patches_per_picture={patches_per_image}: no picture of the split has so many")
        stacks = used[np.lexsort((position[used], version[used]))].reshape(-1, patches_per_image)
        first = self.manifest.iloc[stacks[:, 0]].reset_index(drop=True).assign(position=position[stacks[:, 0]])
        scene = pd.factorize(first["group"], sort=True)[0]
        scenes, turns = scene.max() + 1, np.arange(scene.max() + 1)
        # In turn n, class n mod K uses scene n mod S. When a class would meet its first scene again, it moves on
        # by one scene.
        offset = (turns * self._classes + turns // (scenes // np.gcd(scenes, self._classes))) % scenes
        first["turn"] = offset.argsort()[(scene - first["label"]) % scenes]
        first["of_scene"] = first.sort_values(["position", "content"]).groupby(["group", "label"]).cumcount()
        first["of_class"] = first.sort_values(["of_scene", "turn"]).groupby("label").cumcount()
        order: NDArray[np.int64] = stacks[first.sort_values(["of_class", "label"]).index][:images]
        return order

    def patches(self, indices: ArrayLike) -> Tensor:
        """Return stored patches, ``uint8``, ``(N, C, H, W)``."""
        indices = np.asarray(indices)
        shard, row = self.shard[indices], self._row[indices]
        patches = np.empty((len(indices), *self._shape), np.uint8)
        for number in np.unique(shard):
            patches[shard == number] = self._opened(int(number))[row[shard == number]]
        return torch.from_numpy(patches)

    def fetch(self, shards: Iterable[int]) -> None:
        """Begin to bring shards near, while the caller goes on: into the cache, or from the disk into memory."""

        def bring() -> None:
            with suppress(OSError, ValueError):  # whoever reads the shard meets the error
                for number in shards:
                    self._store.files.fetch(self._names[number])

        Thread(target=bring, daemon=True).start()  # the end of the process ends it

    def release(self) -> None:
        """Give back the memory of the files' pages: else all that was ever read counts as this process's."""
        for shard in self._open.values():
            shard.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]  # a memory map has one

    def _opened(self, number: int) -> NDArray[np.uint8]:
        """Return a shard; of an address, no more are open than its cache may hold, so that the disk gets them back."""
        if number not in self._open:
            self._open[number] = self._store.read(self._names[number], partial(np.load, mmap_mode="r"))
            most = self._store.files.most
            if most is not None and len(self._open) > 1 and len(self._open) * self.shard_bytes > most:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]
