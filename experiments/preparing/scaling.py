"""Ten times more photographs: ``python -m experiments.preparing.scaling FOLDER > FILE``.

Simulated photographs are written as PNG files, once; then `advforensics prepare` cuts the first tenth of them and all
of them, in turn, each in a process of its own, whose peak memory the operating system tells.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from advforensics.cli import config_dir
from advforensics.sources.base import Picture

FEW, MANY, REPEATS = 60, 600, 2
SIZE = ["source.scenes.height=384", "source.scenes.width=576", f"source.scenes.number={MANY}"]


def write(folder: Path) -> None:
    """Write the photographs into ``many``, and links to the first ones into ``few``."""
    with initialize_config_dir(str(config_dir()), version_base=None):
        source = instantiate(compose("prepare", ["source=simulator", *SIZE]).source, _convert_="all")
    for name in ("few", "many"):
        (folder / name).mkdir(parents=True)
    for number, picture in enumerate(source):
        assert isinstance(picture, Picture)
        path = folder / "many" / f"{number:04d}.png"
        Image.fromarray(picture.pixels).save(path)
        if number < FEW:
            (folder / "few" / path.name).symlink_to(path.resolve())


def prepared(folder: Path, name: str) -> tuple[float, float, int]:
    """Return seconds, peak memory in MiB and patches of one prepare."""
    store = folder / "store"
    command = [str(Path(sys.executable).with_name("advforensics")), "prepare", "source=photos"]
    command += [f'source.folder="{folder / name}"', "patches.short_side=null", f"store={store}"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        sys.exit(f"prepare failed with {status}")
    patches = sum(json.loads((store / "store.json").read_text())["patches"].values())
    shutil.rmtree(store)
    return seconds, usage.ru_maxrss / 1024, patches


def main(folder: Path) -> None:
    """Write a row for each prepare."""
    if not (folder / "many").exists():
        write(folder)
    table = csv.writer(sys.stdout)
    table.writerow(["photographs", "patches", "seconds", "patches_per_second", "peak_mib"])
    for _ in range(REPEATS):
        for name, number in (("few", FEW), ("many", MANY)):
            seconds, peak, patches = prepared(folder, name)
            table.writerow([number, patches, f"{seconds:.1f}", f"{patches / seconds:.0f}", f"{peak:.0f}"])
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
