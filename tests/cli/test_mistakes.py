"""Whoever makes a mistake reads one line: what is wrong, where, and what to do."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from configs import TINY_TRAINING, Compose
from hydra.errors import CompactHydraException
from processes import Call

from advforensics.cli.mistakes import check_numbers, mistakes_in_one_line


def broken_checkpoint(folder: Path) -> None:
    (folder / "checkpoint.pt").write_bytes(b"no zip")


def older_checkpoint(folder: Path) -> None:
    """Write a checkpoint of before formats were counted."""
    content = dict.fromkeys(("state_dict", "config", "task", "classes", "shape"))
    torch.save(content, folder / "checkpoint.pt")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def older(folder: Path) -> None:
    """Make a patch store one of before formats were counted."""
    text = (folder / "store.json").read_text()
    (folder / "store.json").write_text(text.replace('  "format": 2,\n', ""))


def no_table(folder: Path) -> None:
    (folder / "one" / "sweep").mkdir(parents=True)
    (folder / "one" / "sweep" / "samples.parquet").write_text("no table")


TRAIN = ["train", "store=patches", "folder=out", *TINY_TRAINING]
SWEEP = ["sweep", "store=patches", "checkpoint=checkpoint.pt"]
MISTAKES: list[tuple[list[str], Callable[[Path], None] | None, str]] = [
    (
        ["train", "store=nowhere", "folder=out"],
        None,
        "no patch store in nowhere: run `advforensics prepare store=nowhere` first",
    ),
    (SWEEP, None, "no checkpoint checkpoint.pt: run `advforensics train` first"),
    (
        SWEEP,
        broken_checkpoint,
        "checkpoint.pt is not a checkpoint",
    ),
    (
        SWEEP,
        older_checkpoint,
        "checkpoint.pt is a checkpoint of format 1, this version reads 2: train the detector again",
    ),
    (
        TRAIN,
        lambda folder: cut_short(next((folder / "patches").glob("*.npy"))),
        "patches-0000.npy is missing or damaged",
    ),
    (TRAIN, lambda folder: cut_short(folder / "patches" / "store.json"), "store.json is damaged"),
    (
        TRAIN,
        lambda folder: cut_short(folder / "patches" / "manifest.parquet"),
        "manifest.parquet is missing or damaged",
    ),
    (
        TRAIN,
        lambda folder: older(folder / "patches"),
        "patches is a patch store of format 1, this version reads 2: run",
    ),
    ([*TRAIN, "batch_size=0"], None, "batch_size=0: give whole numbers of 1 or more"),
    ([*TRAIN, "store=1"], None, "store=1: a number is no path: give store=./1"),
    ([*TRAIN, "trainer.max_epochs=abc"], None, "trainer.max_epochs=abc: give whole numbers of 1 or more"),
    (
        [*TRAIN, "defense=gradient_regularized", "defense.module.weight=-1"],
        None,
        "defense.module.weight=-1: give numbers",
    ),
    ([*TRAIN, "trainer.precision=7"], None, "trainer: "),
    ([*SWEEP, "eps_levels=[0,one]"], None, "eps_levels=[0, 'one']: give numbers from 0 to 255"),
    (["prepare", "source=photos", "source.folder=nowhere"], None, "nowhere. Give one that holds photographs"),
    (["prepare", "patches.size=big"], None, "patches: patches.size=big must be a whole number"),
    (["report", "runs=nowhere"], None, "no sample table in nowhere/*/sweep: run `advforensics sweep"),
    (["report", "runs=."], no_table, "samples.parquet is damaged"),
    (["report"], None, "Missing mandatory value: runs: give runs=VALUE"),
]


@pytest.mark.parametrize(("arguments", "prepare", "message"), MISTAKES, ids=[message for *_, message in MISTAKES])
def test_a_mistake_ends_with_one_line(
    composed: Compose,
    store: Path,
    arguments: list[str],
    prepare: Callable[[Path], None] | None,
    message: str,
) -> None:
    shutil.copytree(store, "patches")
    if prepare is not None:
        prepare(Path())
    command, *overrides = arguments
    cfg = composed(command, *overrides)
    entry = getattr(importlib.import_module(f"advforensics.{command}"), command)

    def run() -> None:
        with mistakes_in_one_line():
            check_numbers(cfg)
            entry(cfg)

    with pytest.raises(CompactHydraException) as refused:
        run()
    assert str(refused.value).startswith("error: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_hydra_prints_it_without_a_traceback(call: Call) -> None:
    result = call("train", "store=nowhere")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "\nerror: no patch store in nowhere: run" in result.stderr


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), mistakes_in_one_line():
        1 / 0  # noqa: B018
    with pytest.raises(ValueError, match="invalid literal"), mistakes_in_one_line():
        int("no number")


def test_who_asks_gets_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(FileNotFoundError), mistakes_in_one_line():
        Path("nowhere").read_text()
