"""Would litdata do? ``python -m experiments.large_stores.streaming STORE WORK``.

STORE is what ``run.py`` has written, WORK a folder to be made. Both loaders read such patches in shuffled order, and
nothing else is done. Then litdata's is stopped in the middle of an epoch, and another goes on from its state. Needs
``pip install --no-deps litdata==0.2.76 obstore==0.12.1 tifffile``.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from litdata import StreamingDataLoader, StreamingDataset, optimize

from advforensics.store.datamodule import PatchData

SHARDS = 40  # of the store: 40,960 patches
BATCHES, STOP = 600, 250
BATCH = 64
ROUNDS = 3
PATIENCE = 60  # seconds without a batch
HERE = Path(__file__).parent


def numbered(item: tuple[int, str]) -> Iterable[dict[str, Any]]:
    """Yield the patches of a shard with their numbers."""
    shard, path = item
    for row, patch in enumerate(np.load(path)):
        yield {"number": shard * 1024 + row, "patch": patch}


def streamed(folder: Path, workers: int) -> StreamingDataLoader:
    """Return litdata's loader."""
    return StreamingDataLoader(
        StreamingDataset(str(folder), shuffle=True, seed=1, drop_last=True), batch_size=BATCH, num_workers=workers
    )


def speed(loader: Any) -> int:
    """Return patches per second, after the first batch."""
    batches = iter(loader)
    next(batches)
    begin = time.perf_counter()
    count = sum(1 for _ in islice(batches, BATCHES))
    return round(count * BATCH / (time.perf_counter() - begin))


def course(folder: Path, before: int, after: int | None, to: Path) -> None:
    """Write the numbers of the patches in each batch; if ``after``, of a loader that takes over in the middle."""
    loader, found = streamed(folder, before), list[list[int]]()
    for batch in loader:
        found.append(batch["number"].tolist())
        if len(found) == STOP and after is not None:
            state, loader = loader.state_dict(), streamed(folder, after)
            loader.load_state_dict(state)
            found += [batch["number"].tolist() for batch in islice(loader, BATCHES - STOP)]
        if len(found) >= BATCHES:
            break
    to.write_text(json.dumps(found[:BATCHES]))


def batches(folder: Path, before: int, after: int | None = None) -> list[list[int]]:
    """Return that of a process of its own; nothing if it hangs or fails."""
    to = folder.with_name("batches.json")
    to.unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=course, args=(folder, before, after, to))
    process.start()
    process.join(PATIENCE)
    process.kill()
    process.join()
    return json.loads(to.read_text()) if to.exists() else []


def main(store: Path, work: Path) -> None:
    """Write ``litdata.csv`` beside this file."""
    shards = sorted(store.glob("*.npy"))[:SHARDS]
    optimize(numbered, list(enumerate(map(str, shards))), str(work), chunk_bytes="12MB", num_workers=1)
    rows: list[dict[str, Any]] = []
    for workers in (0, 1, 2):
        whole = batches(work, workers)
        as_alone = np.mean([one == other for one, other in zip(whole, batches(work, 0), strict=True)])
        rows.append({"what": "batches as without workers", "workers": workers, "litdata": as_alone})
        for after in (0, 1, 2):
            rest = batches(work, workers, after)[STOP:]
            same = np.mean([one == other for one, other in zip(rest, whole[STOP:], strict=True)]) if rest else "hangs"
            rows.append({"what": "batches after a stop", "workers": f"{workers}, then {after}", "litdata": same})
    for _ in range(ROUNDS):
        for workers in (0, 1, 2):
            ours = PatchData(store, BATCH, None, seed=1, workers=workers, shuffle_gib=0.25).train_dataloader()
            speeds = {"litdata": speed(streamed(work, workers)), "advforensics": speed(ours)}
            rows.append({"what": "patches per second", "workers": workers, **speeds})
    pd.DataFrame(rows).to_csv(HERE / "litdata.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
