"""Would litdata do? ``python -m experiments.large_stores.streaming STORE WORK > experiments/large_stores/litdata.csv``.

STORE is what ``run.py`` has written, WORK a folder to be made. Both loaders read such patches in shuffled order, and
nothing else is done. Then litdata's is stopped in the middle of an epoch, and another goes on from its state. Needs
``pip install --no-deps litdata==0.2.76 obstore==0.12.1 tifffile``.
"""

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


def rest_after_resuming(folder: Path, before: int, after: int) -> float:
    """Return the share of batches, after a stop, that are those of an epoch without one."""
    whole = [batch["number"].tolist() for batch in islice(streamed(folder, before), BATCHES)]
    loader, batches = streamed(folder, before), []
    for number, batch in enumerate(loader, 1):
        batches.append(batch["number"].tolist())
        if number == STOP:
            state = loader.state_dict()
            break
    assert batches == whole[:STOP]
    resumed = streamed(folder, after)
    resumed.load_state_dict(state)
    rest = [batch["number"].tolist() for batch in islice(resumed, BATCHES - STOP)]
    return float(np.mean([one == other for one, other in zip(rest, whole[STOP:], strict=False)])) if rest else 0.0


def main(store: Path, work: Path) -> pd.DataFrame:
    """Return a row for each measurement."""
    shards = sorted(store.glob("*.npy"))[:SHARDS]
    optimize(numbered, list(enumerate(map(str, shards))), str(work), chunk_bytes="12MB", num_workers=1)
    rows: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        for workers in (0, 1, 2):
            ours = PatchData(store, BATCH, None, seed=1, workers=workers, shuffle_gib=0.25).train_dataloader()
            for name, loader in (("litdata", streamed(work, workers)), ("advforensics", ours)):
                value = speed(loader)
                rows.append({"what": "patches per second", "loader": name, "workers": workers, "value": value})
    for before, after in ((0, 0), (1, 1), (2, 2), (2, 1), (1, 2), (2, 0)):
        try:
            value, error = rest_after_resuming(work, before, after), ""
        except Exception as found:  # what it says is the result
            value, error = 0.0, f"{type(found).__name__}: {str(found).splitlines()[0][:150]}"
        workers = f"{before}, then {after}"
        rows.append({"what": "same batches", "loader": "litdata", "workers": workers, "value": value, "error": error})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2])).to_csv(sys.stdout, index=False)
