"""Batches hold the very pixels of the store, in a known order; augmentation only moves them."""

from dataclasses import replace
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from toys import CUTTER, Textures, toy_task

from advforensics.cli import config_dir
from advforensics.data import PatchData, PatchDataset, PatchStore
from advforensics.patches import build


def shipped_augmentation() -> A.BasicTransform:
    return instantiate(OmegaConf.load(config_dir() / "train.yaml").augment)


def sorted_values(images: Tensor) -> Tensor:
    return images.flatten(2).sort().values


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_are_the_stored_pixels_in_the_order_of_the_manifest(store: Path, split: str) -> None:
    data = PatchData(store, 5, None, seed=0)
    images, labels = (torch.cat(parts) for parts in zip(*data.batches(split), strict=True))
    stored = torch.from_numpy(np.concatenate([np.load(path) for path in sorted(store.glob(f"{split}-*.npy"))]))
    assert images.dtype == torch.float32
    assert torch.equal(images, stored / 255)
    assert labels.tolist() == data.store.manifest(split)["label"].tolist()
    image, label = PatchDataset(data.store, split)[3]
    assert torch.equal(image[0], images[3])
    assert label.tolist() == [labels[3]]


def test_the_store_says_what_it_holds(store: Path) -> None:
    opened = PatchStore(store)
    assert (opened.classes, opened.shape) == (toy_task().classes, (1, 32, 32))


def test_augmentation_only_moves_pixels(tmp_path: Path) -> None:
    build(Textures(12), toy_task(), replace(CUTTER, colour="rgb"), tmp_path / "store")
    store = PatchStore(tmp_path / "store")
    as_is, _ = PatchDataset(store, "train").__getitems__(list(range(20)))
    moved, _ = PatchDataset(store, "train", shipped_augmentation()).__getitems__(list(range(20)))
    assert not torch.equal(moved, as_is)
    assert torch.equal(sorted_values(moved), sorted_values(as_is))


@pytest.mark.parametrize("augment", [None, shipped_augmentation()], ids=["order", "order and augmentation"])
def test_training_batches_follow_the_seed(store: Path, augment: A.BasicTransform | None) -> None:
    def epochs(seed: int) -> list[Tensor]:
        loader = PatchData(store, 5, augment, seed).train_dataloader()
        return [torch.cat([images for images, _ in loader]) for _ in range(2)]

    first, second = epochs(seed=1)
    again = epochs(seed=1)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, second)
    assert not torch.equal(first, epochs(seed=2)[0])


def test_a_training_epoch_shows_every_image_once_but_for_the_rest(store: Path) -> None:
    data = PatchData(store, 5, None, seed=0)
    batches = [images for images, _ in data.train_dataloader()]
    assert {len(images) for images in batches} == {5}
    shown = torch.cat(batches).flatten(1)
    assert len(shown) == len(PatchDataset(data.store, "train")) // 5 * 5
    assert len(shown.unique(dim=0)) == len(shown)


def test_a_missing_store_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"advforensics prepare store={tmp_path}"):
        PatchStore(tmp_path)


def test_a_batch_larger_than_the_training_split_is_refused(store: Path) -> None:
    data = PatchData(store, batch_size=10_000, augment=None, seed=0)
    with pytest.raises(ValueError, match="batch_size=10000 exceeds"):
        data.train_dataloader()
