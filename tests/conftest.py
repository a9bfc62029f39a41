"""Shared fixtures: a tiny patch store, a tiny detector, configs and commands that record in the test's own folder.

The process that distributes the tests imports this file before the workers start. So fixtures import what they need.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

    from configs import Compose
    from matplotlib.figure import Figure
    from processes import Call

    from advforensics.detectors.detector import Detector

gc.disable()  # until everything is imported
os.environ["OMP_NUM_THREADS"] = "1"  # several workers share the cores
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # albumentations looks for updates over the network at import


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that start processes first: they take longest, and at the end the other workers would be idle."""
    items.sort(key=lambda item: "processes" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish() -> None:
    """Exclude the million objects of the imported modules from garbage collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a patch store of 12 photographs with 3 classes of 32x32 patches; tests only read it."""
    from toys import CUTTER, Textures, toy_task

    from advforensics.store.building import build

    folder = tmp_path_factory.mktemp("store") / "patches"
    build(Textures(12), toy_task(), CUTTER, folder, "")
    return folder


@pytest.fixture
def detector() -> Detector:
    """Return a detector of three classes, in training mode, with batch statistics from 50 random batches."""
    from toys import tiny_detector

    return tiny_detector()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return an SQLite file with MLflow's tables; creating them takes seconds, so all workers share one."""
    from advforensics.tracking.experiment import Tracking

    folder = tmp_path_factory.getbasetemp()
    path = (folder if worker_id == "master" else folder.parent) / "empty.db"
    Tracking(f"sqlite:///{path}", "Default").connect()
    return path


@pytest.fixture
def composed(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compose:
    """Return a function that composes a command's config; runs are recorded in ``tmp_path``."""
    from configs import config

    from advforensics.tracking.experiment import PARENT_RUN

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PARENT_RUN, raising=False)
    shutil.copy(database, "mlflow.db")

    return config


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Return a context whose server imports everything once and then forks each process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "advforensics.sweep", "advforensics.train"])
    return context


@pytest.fixture
def call(tmp_path: Path, database: Path, processes: ForkServerContext) -> Call:
    """Return a function that runs ``advforensics`` in an empty folder with an MLflow database."""
    from processes import Call

    shutil.copy(database, tmp_path / "mlflow.db")
    return Call(tmp_path, processes)


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save empty figures: drawing them takes longer than the rest of a small sweep or report."""

    def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        png.touch()
        svg.write_text("<svg></svg>")
        return png, svg

    for command in ("prepare", "report", "assessment", "transfer"):
        monkeypatch.setattr(f"advforensics.{command}.save", save)


@pytest.fixture
def unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the leak audit's classifiers, which take longer than the rest of building a small store."""
    monkeypatch.setattr("advforensics.store.leak_audit.FOLDS", 10**6)


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the attacks for alarms, which double the time of a small sweep."""
    monkeypatch.setattr("advforensics.alarms.probes.attack_alarms", lambda *given: [])
