"""Ten times more photographs: ``python -m experiments.preparing.scaling FOLDER > FILE``.

Simulated photographs are written as PNG files, once; then `advforensics prepare` cuts the first tenth of them and all
of them, in turn, each in a process of its own, whose peak memory the operating system tells; a naive loop beside it.
"""

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from advforensics.cli.main import config_dir
from advforensics.sources.base import Picture

FEW, MANY, REPEATS = 60, 600, 2
PATCHES = 8 * 48  # of a photograph: eight classes
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


def commands(folder: Path, name: str) -> dict[str, list[str]]:
    """Return the command lines of what cuts the photographs of ``folder / name``."""
    here = Path(sys.executable)
    prepare = [str(here.with_name("advforensics")), "prepare", "source=photos", "patches.short_side=null"]
    prepare += [f'source.folder="{folder / name}"', f"store={folder / 'store'}"]
    naive = [str(here), "-m", "experiments.preparing.naive", str(folder / name), str(folder / "naive.npy")]
    return {"advforensics": prepare, "naive loop": naive}


def measured(command: list[str]) -> tuple[float, float, float]:
    """Return seconds, processor seconds and peak memory in MiB of a process and those it waited for."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        sys.exit(f"{' '.join(command)} failed with {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main(folder: Path) -> None:
    """Write a row for each process."""
    if not (folder / "many").exists():
        write(folder)
    table = csv.writer(sys.stdout)
    table.writerow(
        ["tool", "photographs", "patches", "seconds", "processor_seconds", "patches_per_processor_second", "peak_mib"]
    )
    for _ in range(REPEATS):
        for name, number in (("few", FEW), ("many", MANY)):
            for tool, command in commands(folder, name).items():
                seconds, busy, peak = measured(command)
                row = [f"{value:.0f}" for value in (seconds, busy, PATCHES * number / busy, peak)]
                table.writerow([tool, number, PATCHES * number, *row])
                sys.stdout.flush()
        (folder / "naive.npy").unlink()
        shutil.rmtree(folder / "store")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
