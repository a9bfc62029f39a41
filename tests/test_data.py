"""Batches hold the very pixels of the store, in a known order; augmentation only moves them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from toys import CUTTER, Textures, toy_task

from advforensics.cli import config_dir
from advforensics.data import Augment, PatchData, PatchDataset, PatchStore, TrainingOrder, TrainingPatches
from advforensics.patches import build


def shipped_augmentation() -> Augment:
    augment: Augment = instantiate(OmegaConf.load(config_dir() / "train.yaml").augment)
    return augment


def sorted_values(images: Tensor) -> Tensor:
    return images.flatten(2).sort().values


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_are_the_stored_pixels_in_the_order_of_the_manifest(store: Path, split: str) -> None:
    data = PatchData(store, 5, None, seed=0)
    images, labels = (torch.cat(parts) for parts in zip(*data.batches(split), strict=True))
    rows = PatchStore(store).manifest(split)
    stored = torch.stack(
        [torch.from_numpy(np.load(store / shard)[row]) for shard, row in zip(rows["shard"], rows["index"], strict=True)]
    )
    assert images.dtype == torch.float32
    assert torch.equal(images, stored / 255)
    assert labels.tolist() == data.store.manifest(split)["label"].tolist()
    some, truth = PatchDataset(data.store, split)[[3, 1]]
    assert torch.equal(some, images[[3, 1]])
    assert torch.equal(truth, labels[[3, 1]])


def test_the_store_says_what_it_holds(store: Path) -> None:
    opened = PatchStore(store)
    assert (opened.classes, opened.shape) == (toy_task().classes, (1, 32, 32))


def test_augmentation_only_moves_pixels(tmp_path: Path) -> None:
    build(Textures(12), toy_task(), replace(CUTTER, colour="rgb"), tmp_path / "store", "")
    store = PatchStore(tmp_path / "store")
    as_is, _ = PatchDataset(store, "train")[range(20)]
    moved, _ = TrainingPatches(store, shipped_augmentation())[np.arange(20), np.arange(20)]
    assert not torch.equal(moved, as_is)
    assert torch.equal(sorted_values(moved), sorted_values(as_is))


def epoch(store: Path, number: int, seed: int = 1, replays: int = 1) -> list[Tensor]:
    """Return the training batches of an epoch."""
    loader = PatchData(store, 5, shipped_augmentation(), seed, replays).train_dataloader()
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return [images for images, _ in loader]


def test_training_batches_follow_from_seed_and_epoch(store: Path) -> None:
    first = torch.cat(epoch(store, 0))
    assert torch.equal(first, torch.cat(epoch(store, 0)))
    assert not torch.equal(first, torch.cat(epoch(store, 1)))
    assert not torch.equal(first, torch.cat(epoch(store, 0, seed=2)))


def test_batches_come_as_often_as_they_are_replayed(store: Path) -> None:
    once, thrice = epoch(store, 0), epoch(store, 0, replays=3)
    assert len(once) == len(thrice)
    for step, images in enumerate(thrice):
        assert torch.equal(images, once[step // 3])


def test_processes_share_what_one_would_see(store: Path) -> None:
    number = len(PatchDataset(PatchStore(store), "train"))
    alone = list(TrainingOrder(number, 6, seed=1))
    shares = [list(TrainingOrder(number, 6, seed=1, rank=rank, processes=2)) for rank in range(2)]
    for whole, *parts in zip(alone, *shares, strict=True):
        for position in range(2):  # indices, draws
            together = np.stack([part[position] for part in parts], axis=1).reshape(-1)
            assert np.array_equal(together, whole[position])
    data = PatchData(store, 5, None, seed=1)
    split = [torch.cat([images for images, _ in data.batches("val", rank, 2)]) for rank in range(2)]
    whole = torch.cat([images for images, _ in data.batches("val")])
    assert torch.equal(whole[::2], split[0])
    assert torch.equal(whole[1::2], split[1])


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
