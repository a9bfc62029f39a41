"""Unfinished work belongs to one config, one detector, one store and one version of the code."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import IGNORE_LIGHTNING_WARNINGS, TINY_TRAINING, Compose, only
from omegaconf import OmegaConf
from test_sweep import checkpoint
from toys import CUTTER, Textures, toy_task

from advforensics.evaluation.cascade import run_cascade
from advforensics.persistence import provenance, unfinished
from advforensics.persistence.journal import Journal
from advforensics.persistence.provenance import code_digest
from advforensics.persistence.unfinished import IDENTITY, unfinished_folder
from advforensics.statistics.sample_table import read_samples
from advforensics.store.building import build
from advforensics.sweep import sweep
from advforensics.train import train

pytestmark = IGNORE_LIGHTNING_WARNINGS
CONFIG = OmegaConf.create({"seed": 1, "copy": "${seed}", "attack": {"steps": 10}})


def identity(**changes: Any) -> dict[str, Any]:
    return {"config": CONFIG, "detector": "abc", "store": "def"} | changes


def test_work_of_the_same_identity_is_kept_without_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = unfinished_folder(tmp_path / "sweep" / "unfinished", **identity())
    (folder / "a.pt").touch()
    assert unfinished_folder(tmp_path / "sweep" / "unfinished", **identity(config=CONFIG.copy())) == folder
    assert {path.name for path in folder.iterdir()} == {"a.pt", IDENTITY}
    assert not caplog.records


def test_work_of_another_identity_stays_as_long_as_its_process_lives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "import pathlib, sys; from advforensics.persistence.unfinished import unfinished_folder as of;"
        f"print(of(pathlib.Path({str(tmp_path / 'unfinished')!r}), store='alive'), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        alive = Path(process.stdout.readline().decode().strip())
        unfinished_folder(tmp_path / "unfinished", store="other")
        assert alive.is_dir()
        assert "another process works in it" in caplog.text
        process.kill()
    unfinished_folder(tmp_path / "unfinished", store="other")
    assert not alive.exists()


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"store": "deg"}, "store"),
        ({"detector": "abd"}, "detector"),
        ({"config": OmegaConf.merge(CONFIG, {"attack": {"steps": 20}})}, "config.attack.steps"),
        ({"config": OmegaConf.merge(CONFIG, {"seed": 2})}, "config.copy, config.seed"),
    ],
)
def test_work_of_another_identity_is_deleted_and_the_message_lists_the_changes(
    changes: dict[str, Any], listed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = unfinished_folder(tmp_path / "unfinished", **identity())
    (folder / "a.pt").touch()
    (tmp_path / "samples.parquet").touch()
    other = unfinished_folder(tmp_path / "unfinished", **identity(**changes))
    assert [path.name for path in other.iterdir()] == [IDENTITY]
    assert not folder.exists()
    assert (tmp_path / "samples.parquet").exists()
    message = f"{folder}: unfinished work is deleted, because these changed: {listed}"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_work_of_another_version_of_the_code_is_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unfinished_folder(tmp_path / "unfinished", **identity())
    (folder / "a.pt").touch()
    monkeypatch.setattr(unfinished, "code_digest", lambda: "of other code")
    unfinished_folder(tmp_path / "unfinished", **identity())
    assert not (folder / "a.pt").exists()
    assert "changed: code" in caplog.text


def test_the_digest_of_the_code_follows_every_module_committed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    shutil.copytree(provenance.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    original = code_digest.__wrapped__()
    monkeypatch.setattr(provenance, "PACKAGE", package)
    assert code_digest.__wrapped__() == original
    for module in ("evaluation/cascade.py", "train.py"):
        before = code_digest.__wrapped__()
        with (package / module).open("a") as source:
            source.write("\n")
        assert code_digest.__wrapped__() != before


def test_threads_and_tracking_do_not_make_other_work(tmp_path: Path) -> None:
    configs = [OmegaConf.merge(CONFIG, {"threads": threads, "tracking": {"uri": str(threads)}}) for threads in (1, 2)]
    one, other = (unfinished_folder(tmp_path / "unfinished", **identity(config=config)) for config in configs)
    assert one == other


def test_many_threads_share_the_work_of_one_identity(tmp_path: Path) -> None:
    old = unfinished_folder(tmp_path / "unfinished", **identity(store="older"))
    (old / "a.pt").touch()

    def work(_: int) -> Path:
        folder = unfinished_folder(tmp_path / "unfinished", **identity())
        for number in range(20):
            kept = Journal(folder).get(f"b/{number}", lambda number=number: {"n": number})  # type: ignore[misc]
            assert kept == {"n": number}
        return folder

    with ThreadPoolExecutor(4) as pool:
        (folder,) = set(pool.map(work, range(4)))
    found = {path.name for path in folder.rglob("*.*")}
    assert found == {IDENTITY, *(f"{number}.pt" for number in range(20))}
    assert not old.exists()


def test_work_without_an_identity_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    folder.mkdir()
    (folder / "a.pt").touch()
    own = unfinished_folder(folder, **identity())
    assert not (folder / "a.pt").exists()
    assert json.loads((own / IDENTITY).read_text())["config.attack.steps"] == "10"


class KilledError(Exception):
    """Simulates a kill."""


def killed_after(original: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """Return a function that raises at its call number ``calls + 1``."""
    done: list[int] = []

    def function(*arguments: Any, **options: Any) -> Any:
        if len(done) == calls:
            raise KilledError
        done.append(1)
        return original(*arguments, **options)

    return function


@pytest.fixture
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a function that builds a store of other photographs in the same folder."""
    folder = tmp_path_factory.mktemp("changing") / "patches"

    def of(first: int) -> Path:
        build(Textures(12, first), toy_task(), CUTTER, folder, "")
        return folder

    return of


@pytest.mark.usefixtures("sketched", "unprobed", "unscored")
def test_a_sweep_over_another_store_in_the_same_folder_starts_again(
    composed: Compose, stores: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = stores(0)
    path = checkpoint(composed, "one", toy_task().classes)
    config = composed("sweep", f"checkpoint={path}", f"store={store}", *only("fgsm"))
    with monkeypatch.context() as patch:
        patch.setattr("advforensics.evaluation.ensemble.run_cascade", killed_after(run_cascade, 1))
        with pytest.raises(KilledError):
            sweep(config)
    stores(100)
    sweep(config)
    assert "changed: store" in caplog.text
    rows = read_samples(Path("one/sweep/samples.parquet"))
    # The old store's outcomes, replayed over the new images, lay hundreds of levels off.
    assert (rows["linf_levels"] <= rows["eps_levels"] + 1e-3).all()


@pytest.mark.usefixtures("unscored")
def test_a_training_on_another_store_in_the_same_folder_starts_again(
    composed: Compose, stores: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick = (*TINY_TRAINING, "selection.robust_validation=null", "trainer.max_epochs=1")
    config = composed("train", f"store={stores(0)}", "folder=one", *quick)
    with monkeypatch.context() as patch:
        patch.setattr("advforensics.train.save_checkpoint", killed_after(lambda: None, 0))
        with pytest.raises(KilledError):
            train(config)
    stores(100)
    train(config)
    assert "changed: store" in caplog.text
    train(composed("train", f"store={config.store}", "folder=two", *quick))
    one, two = (torch.load(f"{folder}/checkpoint.pt")["state_dict"] for folder in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
