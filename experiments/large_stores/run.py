"""What a store larger than memory costs a training: ``python -m experiments.large_stores.run WORK``, as root.

It writes a store of noise into WORK and trains a light detector on it, in processes of their own, on a part of an
epoch: with all of the store in memory, and in a control group of memory (Linux, version 1) that a quarter of the store
fills, from the folder and from an S3 server on this machine. Needs ``pip install 'advforensics[s3]' moto[server]``.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
from moto.server import ThreadedMotoServer
from tqdm import trange

from advforensics.persistence.provenance import sha256
from advforensics.store.files import CACHE, CACHE_GIB, GIB
from advforensics.store.reading import FORMAT
from advforensics.store.shards import SHARD_PATCHES

SHAPE = (3, 64, 64)
SHARDS = 340  # of the training split, 12 MiB each: 4 GiB
LIMIT = GIB  # a quarter
STEPS = 300  # of 64 patches: six windows
ROUNDS = 3
WINDOW = "shuffle_gib=0.04"
TRAINING = (
    "trainer.max_epochs=1",
    f"+trainer.limit_train_batches={STEPS}",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "selection.robust_validation.images=2",
    "trainer.accelerator=cpu",
    "detector.model.front_end.filters=2",  # light, so that reading weighs more
    "threads=1",  # the other core is for the server
)
WAYS = {  # whether memory is limited, where the store lies, and what else the training is told
    "memory": (False, "folder", ()),
    "limited": (True, "folder", (WINDOW,)),
    "limited, S3": (True, "s3", (WINDOW,)),
}
GROUP = Path("/sys/fs/cgroup/memory/advforensics")
HERE = Path(__file__).parent


def write(store: Path) -> None:
    """Write a store of noise, whose classes differ in brightness."""
    store.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in trange(SHARDS + 2, desc="shards"):
        split = {SHARDS: "val", SHARDS + 1: "test"}.get(number, "train")
        label = np.arange(SHARD_PATCHES) % 2
        patches = rng.integers(0, 192, (SHARD_PATCHES, *SHAPE), np.uint8) + (64 * label[:, None, None, None])
        np.save(store / f"patches-{number:04d}.npy", patches.astype(np.uint8))
        rows.append(pd.DataFrame({"label": label, "split": split, "shard": f"patches-{number:04d}.npy"}))
    manifest = pd.concat([table.assign(index=range(SHARD_PATCHES)) for table in rows], ignore_index=True)
    manifest["content"] = manifest["group"] = manifest["shard"]
    manifest["class"] = manifest["operation"] = np.array(["dark", "bright"])[manifest["label"]]
    manifest.to_parquet(store / "manifest.parquet", index=False)
    files = {path.name: sha256(path) for path in sorted(store.iterdir())}
    patches = {"train": SHARDS * SHARD_PATCHES, "val": SHARD_PATCHES, "test": SHARD_PATCHES}
    (store / "store.json").write_text(
        json.dumps(
            {
                "format": FORMAT,
                "task": "noise",
                "classes": ["dark", "bright"],
                "null_first": False,
                "shape": SHAPE,
                "patches": patches,
                "files": files,
            }
        )
    )


def in_memory(store: Path, wanted: bool) -> None:
    """Have the system keep all pages of the store in memory, or none."""
    for path in store.iterdir():
        if wanted:
            path.read_bytes()
        else:
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def group() -> Iterator[None]:
    """Make the control group for a while."""
    GROUP.mkdir(exist_ok=True)
    try:
        (GROUP / "memory.limit_in_bytes").write_text(str(LIMIT))
        yield
    finally:
        (GROUP / "memory.force_empty").write_text("0")
        GROUP.rmdir()


def join() -> None:
    """Put this process into the control group."""
    (GROUP / "cgroup.procs").write_text(str(os.getpid()))


def trained(work: Path, way: str, addresses: dict[str, str]) -> tuple[float, float]:
    """Train; return patches per second, and the share of the time that was spent waiting for data."""
    limited, place, overrides = WAYS[way]
    for folder in ("train", "cache"):
        shutil.rmtree(work / folder, ignore_errors=True)
    in_memory(work / "store", wanted=not limited)
    given = (f"store={addresses[place]}", f"folder={work}/train", *TRAINING, *overrides)
    environment = {**os.environ, CACHE: str(work / "cache"), CACHE_GIB: "0.5"}
    with group():
        subprocess.run(
            ["advforensics", "train", *given],
            check=True,
            cwd=work,
            env=environment,
            preexec_fn=join if limited else None,
        )
    (row,) = pd.read_csv(work / "train" / "training.csv").to_dict("records")
    return STEPS * 64 / row["seconds"], row["waiting"]


def main(work: Path) -> None:
    """Write ``results.csv`` beside this file."""
    store = work / "store"
    if not (store / "store.json").is_file():
        shutil.rmtree(store, ignore_errors=True)
        write(store)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    system = fsspec.filesystem("s3")
    system.mkdir("bucket")
    system.put(str(store), "bucket/", recursive=True)
    addresses = {"folder": str(store), "s3": "s3://bucket/store"}
    with (HERE / "results.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["way", "round", "patches_per_second", "waiting"])
        for number in range(ROUNDS):
            for way in WAYS:
                speed, waiting = trained(work, way, addresses)
                writer.writerow([way, number, round(speed), round(waiting, 3)])
                stream.flush()
                print(f"{way}: {speed:.0f} patches per second, {waiting:.1%} waiting", flush=True)
    server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
