"""A store at an address gives what the store in a folder gives, within a bounded cache."""

import json
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from configs import IGNORE_LIGHTNING_WARNINGS, TINY_TRAINING, Compose
from filelock import FileLock
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from toys import CUTTER, Textures, toy_task

from advforensics.cli.identity import identity
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.store import shards
from advforensics.store.building import build
from advforensics.store.datamodule import PatchData, TrainingOrder, TrainingPatches
from advforensics.store.files import CACHE, CACHE_GIB, GIB, Address, Folder
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.sweep import sweep
from advforensics.train import train


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty cache."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store of 40 photographs in 20 shards."""
    monkeypatch.setattr(shards, "SHARD_PATCHES", 12)
    build(Textures(40), toy_task(), CUTTER, tmp_path / "many", "")
    return tmp_path / "many"


@pytest.fixture
def bucket(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a copy of the store in a bucket of an S3 server on this machine."""
    server = pytest.importorskip("moto.server", reason="moto is not installed: no S3 server")
    pytest.importorskip("s3fs", reason="s3fs is not installed: no client of S3")
    import fsspec

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in (("ENDPOINT_URL", f"http://{host}:{port}"), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of the last test's server
    system = fsspec.filesystem("s3")
    system.mkdir(f"bucket-{port}")  # moto's servers of one process share their buckets
    system.put(str(store), f"bucket-{port}/", recursive=True)
    yield f"s3://bucket-{port}/{store.name}"
    running.stop()


@pytest.fixture(params=["file", "s3"])
def address(request: pytest.FixtureRequest, store: Path) -> str:
    """Return the address of a copy of the store."""
    return str(request.getfixturevalue("bucket")) if request.param == "s3" else f"file://{store}"


def test_a_store_at_an_address_has_the_same_digest_manifest_and_patches(address: str, store: Path) -> None:
    near, far = PatchStore(store), PatchStore(address)
    assert far.metadata == near.metadata
    assert far.digest() == near.digest()
    for split in ("train", "val", "test"):
        images, labels = PatchDataset(near, split)[range(10)]
        copied, same = PatchDataset(far, split)[range(10)]
        assert torch.equal(images, copied)
        assert torch.equal(labels, same)
    assert far.files.names("figures/*") == near.files.names("figures/*")


@IGNORE_LIGHTNING_WARNINGS
def test_training_and_sweep_give_the_same_bits_and_have_the_same_identity(
    address: str, store: Path, composed: Compose
) -> None:
    found: list[tuple[str, dict[str, torch.Tensor], dict[str, float]]] = []
    for place in (str(store), address):
        folder = f"out/{len(found)}"
        config = composed("train", f"store={place}", f"folder={folder}", *TINY_TRAINING)
        train(config)
        checkpoint = f"checkpoint={folder}/checkpoint.pt"
        quick = ("ensemble=quick", "images=6", "eps_levels=[0,1]", "gallery.pictures=1")
        scores = sweep(composed("sweep", checkpoint, f"store={place}", *quick))
        scores.pop("sweep_seconds")
        weights = load_checkpoint(f"{folder}/checkpoint.pt").detector.state_dict()
        found.append((identity("train", config), weights, scores))
    (near, weights, scores), (far, copied, same) = found
    assert near == far
    assert scores == same
    torch.testing.assert_close(weights, copied, rtol=0, atol=0)


def test_the_cache_stays_within_its_bound_and_a_shard_that_has_left_comes_again(
    many_shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = PatchDataset(PatchStore(many_shards), "train")
    monkeypatch.setenv(CACHE_GIB, str(4.5 * (near.shard_bytes + 128) / GIB))
    far = PatchDataset(PatchStore(f"file://{many_shards}"), "train")
    order = np.random.default_rng(0).permutation(len(near))
    for index in order:
        assert torch.equal(far.patches([index]), near.patches([index]))
        assert sum(path.stat().st_size for path in cache.iterdir()) <= 4.5 * (near.shard_bytes + 128)
        assert len(far._open) <= 4
    assert len(list(cache.glob("*.npy"))) < len(set(near.shard))


def test_processes_and_workers_see_each_image_once_and_windows_follow_each_other(
    many_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = PatchStore(many_shards)
    dataset = PatchDataset(near, "train")
    number = len(dataset) // 8 * 8
    window = 4.5 * dataset.shard_bytes / GIB
    for place in (str(many_shards), f"file://{many_shards}"):
        seen = []
        for rank in (0, 1):
            data = PatchData(place, 8, None, seed=1, workers=2, shuffle_gib=window)
            monkeypatch.setattr(data, "_rank", partial(tuple, (rank, 2)))
            seen.append([images for images, _ in data.train_dataloader()])
        images = torch.stack([torch.cat(share) for share in seen], dim=1).flatten(0, 1)
        assert len(images.flatten(1).unique(dim=0)) == len(images) == number
        every = {image.numpy().tobytes(): index for index, image in enumerate(dataset[range(len(dataset))][0])}
        shard = dataset.shard[[every[image.numpy().tobytes()] for image in images]]
        # Of 20 shards, 4 at a time: each is done when the next four begin.
        first, last = ([int(f(np.flatnonzero(shard == one))) for one in np.unique(shard)] for f in (np.min, np.max))
        overlaps = [sum(a <= step <= b for a, b in zip(first, last, strict=True)) for step in range(number)]
        assert max(overlaps) <= 4


def test_a_store_of_one_window_is_shuffled_as_a_whole(many_shards: Path) -> None:
    data = PatchData(many_shards, 8, None, seed=1)
    order = data.train_dataloader().sampler
    indices = np.concatenate([batch for batch, _ in order])
    shuffled = np.random.default_rng([1, 0]).permutation(len(PatchDataset(data.store, "train")))
    assert np.array_equal(indices, shuffled[: len(indices)])


def test_the_next_window_is_fetched_while_one_is_read(many_shards: Path, cache: Path) -> None:
    dataset = TrainingPatches(PatchStore(f"file://{many_shards}"), None)
    number, announced = dataset.shard.max() + 1, list[NDArray[np.int64]]()
    batches = list(TrainingOrder(dataset.shard, 4, 1, seed=1, announce=announced.append))
    in_order = list(dict.fromkeys(np.concatenate([dataset.shard[indices] for indices, _ in batches])))
    first, second, *others = np.diff([*range(0, number, 4), number])  # shards of each window
    assert [len(shards) for shards in announced] == [first + second, *others, 0]
    for begin in range(0, number, 4):
        assert set(np.concatenate(announced)[begin : begin + 4]) == set(in_order[begin : begin + 4])
    order = TrainingOrder(dataset.shard, 4, 8, seed=1, announce=dataset.fetch)
    next(iter(DataLoader(dataset, sampler=order, batch_size=None)))
    wanted = {PatchStore(many_shards).files.digests()[dataset._names[shard]] for shard in announced[0]}
    deadline = time.monotonic() + 60
    while not wanted <= {path.stem for path in cache.glob("*.npy")}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_windows_that_the_cache_cannot_hold_are_refused(many_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_GIB, str(8 * PatchDataset(PatchStore(many_shards), "train").shard_bytes / GIB))
    data = PatchData(f"file://{many_shards}", 8, None, seed=1)
    with pytest.raises(ValueError, match=rf"shuffle_gib=4: .* not two windows .*: lower .* or raise {CACHE_GIB}"):
        data.train_dataloader()
    data._window_bytes = 4 * PatchDataset(PatchStore(many_shards), "train").shard_bytes
    data.train_dataloader()


def copy_of(store: Path, folder: Path) -> str:
    shutil.copytree(store, folder)
    return f"file://{folder}"


def test_what_another_process_reads_makes_no_room(
    many_shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_GIB, "0")
    dataset = PatchDataset(PatchStore(f"file://{many_shards}"), "train")
    dataset.patches([0])
    (shard,) = cache.glob("*.npy")
    with FileLock(f"{shard}.lock"):
        dataset.patches([len(dataset) - 1])
        assert len(list(cache.glob("*.npy"))) == 2
    dataset.patches([0])
    assert list(cache.glob("*.npy")) == [shard]


def test_what_is_wrong_with_an_address_is_said(
    store: Path, tmp_path: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no patch store in file:///.*nowhere: run `advforensics prepare"):
        PatchStore(f"file://{tmp_path}/nowhere")
    with pytest.raises(FileNotFoundError, match=r"prepare store=FOLDER` first, and copy FOLDER to file:///.*nowhere$"):
        PatchStore(f"file://{tmp_path}/nowhere")
    monkeypatch.setenv(CACHE_GIB, "much")
    with pytest.raises(ValueError, match=f"{CACHE_GIB}=much: give a number of GiB"):
        PatchStore(f"file://{store}")
    monkeypatch.delenv(CACHE_GIB)
    with pytest.raises(ValueError, match=r"store=what://is/it: .*what"):
        PatchStore("what://is/it")
    other = copy_of(store, tmp_path / "other")
    shard = next((tmp_path / "other").glob("*.npy"))
    np.save(shard, np.load(shard) + 1)
    with pytest.raises(ValueError, match=rf"{shard.name} .* is not the file that store.json lists: copy the whole"):
        PatchDataset(PatchStore(other), "train").patches(range(30))
    shard.unlink()
    with pytest.raises(ValueError, match=rf"there is no .*{shard.name}"):
        PatchDataset(PatchStore(other), "train").patches(range(30))
    (tmp_path / "other" / "store.json").write_text(json.dumps({"format": 2, "classes": ["a"], "shape": [1, 1, 1]}))
    with pytest.raises(
        ValueError, match="is of an older version: run `advforensics prepare store=FOLDER` again, and copy"
    ):
        PatchStore(other).digest()
    from advforensics.prepare import prepare

    with pytest.raises(ValueError, match="prepare writes to a folder; copy that to the address"):
        prepare(composed("prepare", "store=s3://bucket/patches"))


def test_a_folder_and_an_address_list_the_same_files(store: Path) -> None:
    assert list(Folder(store).digests().items()) == list(Address(f"file://{store}/").digests().items())
