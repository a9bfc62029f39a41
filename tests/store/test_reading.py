"""Batches have the pixels of the store in a known order; augmentation only moves pixels."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from toys import CUTTER, Textures, toy_task

from advforensics.cli.main import config_dir
from advforensics.store.building import build
from advforensics.store.datamodule import Augment, PatchData, TrainingOrder, TrainingPatches
from advforensics.store.reading import FORMAT, PatchDataset, PatchStore


def shipped_augmentation() -> Augment:
    augment: Augment = instantiate(OmegaConf.load(config_dir() / "train.yaml").augment)
    return augment


def sorted_values(images: Tensor) -> Tensor:
    return images.flatten(2).sort()[0]


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
    two_images, two_labels = PatchDataset(data.store, split)[[3, 1]]
    assert torch.equal(two_images, images[[3, 1]])
    assert torch.equal(two_labels, labels[[3, 1]])


def test_the_store_knows_its_classes_and_shape(store: Path) -> None:
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


def test_training_batches_depend_on_seed_and_epoch(store: Path) -> None:
    first = torch.cat(epoch(store, 0))
    assert torch.equal(first, torch.cat(epoch(store, 0)))
    assert not torch.equal(first, torch.cat(epoch(store, 1)))
    assert not torch.equal(first, torch.cat(epoch(store, 0, seed=2)))


def test_batches_are_repeated_as_often_as_replays_says(store: Path) -> None:
    once, thrice = epoch(store, 0), epoch(store, 0, replays=3)
    assert len(once) == len(thrice)
    for step, images in enumerate(thrice):
        assert torch.equal(images, once[step // 3])


def test_processes_share_the_batches_of_one_process(store: Path) -> None:
    shard = np.arange(len(PatchDataset(PatchStore(store), "train"))) // 10
    alone = list(TrainingOrder(shard, 2, 6, seed=1))
    shares = [list(TrainingOrder(shard, 2, 6, seed=1, rank=rank, processes=2)) for rank in range(2)]
    for whole, *parts in zip(alone, *shares, strict=True):
        for position in range(2):  # indices, draws
            together = np.stack([part[position] for part in parts], axis=1).reshape(-1)
            assert np.array_equal(together, whole[position])
    data = PatchData(store, 5, None, seed=1)
    split = [torch.cat([images for images, _ in data.batches("val", rank, 2)]) for rank in range(2)]
    whole = torch.cat([images for images, _ in data.batches("val")])
    assert torch.equal(whole[::2], split[0])
    assert torch.equal(whole[1::2], split[1])


def test_a_training_epoch_has_every_image_once_except_an_incomplete_batch(store: Path) -> None:
    data = PatchData(store, 5, None, seed=0)
    batches = [images for images, _ in data.train_dataloader()]
    assert {len(images) for images in batches} == {5}
    images = torch.cat(batches).flatten(1)
    assert len(images) == len(PatchDataset(data.store, "train")) // 5 * 5
    assert len(images.unique(dim=0)) == len(images)


def dataset_of(folder: Path, rows: Sequence[tuple[str, int]], each: int) -> PatchDataset:
    """Return a split whose manifest has ``each`` patches of one picture per (scene, label), in that order."""
    folder.mkdir()
    patches = [
        {"group": hashlib.sha256(scene.encode()).hexdigest(), "label": label, "content": f"{scene} {label}"}
        for scene, label in rows
        for _ in range(each)
    ]
    manifest = pd.DataFrame(patches).assign(operation="", split="test", shard="patches.npy", index=range(len(patches)))
    manifest.assign(**{"class": manifest["label"].astype(str)}).to_parquet(folder / "manifest.parquet")
    np.save(folder / "patches.npy", np.zeros((len(patches), 1, 1, 1), np.uint8))
    classes = sorted({str(label) for _, label in rows}, key=int)
    (folder / "store.json").write_text(json.dumps({"format": FORMAT, "classes": classes, "shape": [1, 1, 1]}))
    return PatchDataset(PatchStore(folder), "test")


@pytest.mark.parametrize("each", [1, 3])
def test_the_first_images_are_balanced_over_classes_that_follow_each_other_in_the_manifest(
    tmp_path: Path, each: int
) -> None:
    rows = [(f"{name}-{number}", label) for label, name in enumerate(("generated", "real")) for number in range(294)]
    dataset = dataset_of(tmp_path / "store", rows, each)
    for images in (2, 64, 100, 512):
        indices = dataset.balanced(images)
        assert dataset.labels[indices].bincount(minlength=2).tolist() == [images // 2, images // 2]
        assert dataset.manifest.iloc[indices]["group"].nunique() == images


def test_the_first_images_of_a_class_come_from_the_whole_manifest(tmp_path: Path) -> None:
    rows = [(f"{label}-{number:03d}", label) for label in (0, 1) for number in range(200)]
    indices = dataset_of(tmp_path / "store", rows, 1).balanced(40)
    positions = np.array(indices) % 200
    assert positions.mean() == pytest.approx(100, abs=30)  # three standard errors; the first twenty have a mean of 10


@pytest.mark.parametrize(("scenes", "classes"), [(143, 27), (60, 5), (12, 4), (10, 27), (7, 1)])
def test_if_every_scene_has_every_class_images_come_from_as_many_scenes_as_possible(
    tmp_path: Path, scenes: int, classes: int
) -> None:
    rows = [(str(scene), label) for scene in range(scenes) for label in range(classes)]
    dataset = dataset_of(tmp_path / "store", rows, 2)
    order = dataset.manifest.iloc[dataset.balanced(None)]
    for images in range(1, len(order), 1 + len(order) // 50):
        first = order.head(images)
        by_scene = first["group"].value_counts()
        assert len(by_scene) == min(images, scenes)
        assert by_scene.max() - by_scene.min() <= 2
        of_class = np.bincount(first["label"], minlength=classes)
        assert of_class.max() - of_class.min() <= 1
    assert (order.head(scenes * classes).groupby(["group", "label"]).size() == 1).all()
    assert sorted(dataset.balanced(None)) == list(range(len(order)))


def test_all_pictures_of_a_scene_and_class_take_turns(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    dataset_of(folder, [(str(scene), label) for scene in range(6) for label in range(2) for _ in range(4)], 5)
    table = pd.read_parquet(folder / "manifest.parquet")
    table["content"] = [
        hashlib.sha256(str(row // 5).encode()).hexdigest() for row in range(len(table))
    ]  # four pictures per scene and class
    table.to_parquet(folder / "manifest.parquet")
    dataset = PatchDataset(PatchStore(folder), "test")
    for turn in range(1, 6):
        assert (dataset.manifest.iloc[dataset.balanced(48 * turn)].groupby("content").size() == turn).all()
    (first,) = np.unique(dataset.manifest.iloc[dataset.balanced_stacks(48, 5)[:, 0]].groupby("content").size())
    assert first == 1


def test_a_small_class_gives_all_its_images_and_the_others_stay_balanced(tmp_path: Path) -> None:
    rows = [(f"{label}-{number}", label) for label, size in enumerate((30, 4, 30)) for number in range(size)]
    dataset = dataset_of(tmp_path / "store", rows, 1)
    for images in range(1, 65):
        counts = dataset.labels[dataset.balanced(images)].bincount(minlength=3)
        if counts[1] < 4:
            assert counts.max() - counts.min() <= 1
        assert abs(counts[0] - counts[2]) <= 1
        assert counts.sum() == images


def test_a_missing_store_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"advforensics prepare store={tmp_path}"):
        PatchStore(tmp_path)


def test_a_batch_larger_than_the_training_split_is_refused(store: Path) -> None:
    data = PatchData(store, batch_size=10_000, augment=None, seed=0)
    with pytest.raises(ValueError, match="batch_size=10000 exceeds"):
        data.train_dataloader()


def test_patches_are_the_same_after_their_memory_was_given_back(store: Path) -> None:
    dataset = PatchDataset(PatchStore(store), "train")
    before = dataset.patches(range(len(dataset)))
    dataset.release()
    assert torch.equal(dataset.patches(range(len(dataset))), before)
