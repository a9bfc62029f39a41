"""``transfer(cfg)``: every detector attacked, and the pictures tried on all; an interrupted run goes on."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from configs import TINY_DETECTOR, Compose
from omegaconf import DictConfig
from torch import Tensor, nn
from toys import toy_task

from advforensics.alarms import alarm as alarms
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.random_signs import RandomSigns
from advforensics.attacks.threat_model import Norm
from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.evaluation.images import select_images
from advforensics.statistics.transfer import CONTROL
from advforensics.store.reading import PatchStore
from advforensics.transfer import transfer

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off

NAMES = ["constrained-baseline-1", "constrained-baseline-2"]


@pytest.fixture
def configured(composed: Compose, store: Path) -> Compose:
    """Return a function from overrides to the config of a small transfer between two untrained detectors."""
    classes = toy_task().classes
    for seed in (1, 2):
        config = composed("train", *TINY_DETECTOR, "folder=.", f"seed={seed}")
        folder = Path("runs") / str(seed)
        folder.mkdir(parents=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            detector = build_detector(config, classes, (1, 32, 32))
        path = folder / "checkpoint.pt"
        save_checkpoint(
            path, detector, config=config, task="manipulation", classes=classes, shape=(1, 32, 32), commit="abc"
        )

    def of(*overrides: str) -> DictConfig:
        small = ("images=9", "eps_levels=[0.5,4]", "attack.build.steps=2", "folder=out")
        return composed("transfer", "checkpoints=runs", f"store={store}", *small, *overrides)

    return of


def test_every_pair_is_tried_and_all_files_are_written(configured: Compose, store: Path) -> None:
    table = transfer(configured())
    rows = pd.read_parquet("out/transfer.parquet")
    assert len(rows) == 9 * 3 * 2 * 3 * 2  # images, surrogates and the control, targets, radii with 0, domains
    cells = set(table[["surrogate", "target", "eps_levels", "domain"]].itertuples(index=False, name=None))
    assert cells == set(product([*NAMES, CONTROL], NAMES, [0, 0.5, 4], ["float", "8bit"]))
    pd.testing.assert_frame_equal(pd.read_csv("out/transfer.csv"), table)
    assert [alarm.name for alarm in alarms.read(Path("out/alarms.csv"))] == ["transfer_stronger"]
    for name in NAMES:
        trained = load_checkpoint(f"runs/{name[-1]}/checkpoint.pt")
        targets = select_images(PatchStore(store), trained, "test", 9)[:]
        with torch.no_grad():
            predicted = trained.detector(targets.images).argmax(dim=1).tolist()
        clean = rows[(rows["target"] == name) & (rows["eps_levels"] == 0)]
        for _, ours in clean.groupby(["surrogate", "domain"]):
            assert dict(zip(ours["sample_id"], ours["predicted"], strict=True)) == dict(
                zip(targets.sample_ids, predicted, strict=True)
            )
    assert {path.name for path in Path("out").iterdir()} == {
        *("transfer.parquet", "transfer.csv", "alarms.csv", "figures")
    }


def test_every_surrogate_radius_and_batch_has_draws_of_its_own(
    configured: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def record(attack: Any, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        drawn.append(torch.rand(()).item())
        return images + eps / 9

    for kind in (TorchAttack, RandomSigns):
        monkeypatch.setattr(kind, "__call__", record)
    transfer(configured("batch_size=5"))
    assert len(set(drawn)) == len(drawn) == 3 * 2 * 2  # two detectors and the control, radii, batches


@pytest.mark.usefixtures("sketched")
def test_pictures_are_those_of_the_surrogate(configured: Compose) -> None:
    transfer(configured())
    rows = pd.read_parquet("out/transfer.parquet")
    made = rows[(rows["eps_levels"] == 4) & (rows["domain"] == "float")]
    own = made[made["surrogate"] == made["target"]]
    other = made[made["surrogate"].isin(NAMES) & (made["surrogate"] != made["target"])]
    assert own["margin"].mean() < other["margin"].mean()
    assert (made["linf_levels"] <= 4 + 1e-4).all()
    assert made["linf_levels"].min() > 3
    whole = rows[rows["domain"] == "8bit"]
    np.testing.assert_allclose(whole["linf_levels"], whole["linf_levels"].round(), atol=1e-4)
    assert (whole[whole["eps_levels"] < 1]["linf_levels"] == 0).all()


@pytest.mark.usefixtures("sketched")
def test_the_run_has_curves_and_tables(configured: Compose) -> None:
    table = transfer(configured())
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("advforensics").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "transfer-manipulation")
    pairs = table[(table["surrogate"] != table["target"]) & table["surrogate"].isin(NAMES)]
    last = client.get_metric_history(run.info.run_id, "robust_accuracy/linf/float")[-1]
    wanted = pairs.query("metric == 'robust_accuracy' and domain == 'float' and eps_levels == 4")["estimate"].mean()
    assert (last.step, last.value) == (4000, pytest.approx(wanted))
    tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert tables == {"tables/transfer.parquet", "tables/transfer.csv", "tables/alarms.csv"}


@pytest.mark.usefixtures("sketched")
def test_an_interrupted_transfer_goes_on_with_the_surrogate_it_was_at(
    configured: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = transfer(configured("folder=whole"))
    calls, healthy, failing = [], TorchAttack.__call__, True

    def attack(self: TorchAttack, detector: torch.nn.Module, *given: Any) -> torch.Tensor:
        calls.append(detector)
        if failing and len({id(detector) for detector in calls}) == 2:
            raise KeyError("power failure")
        return healthy(self, detector, *given)

    monkeypatch.setattr(TorchAttack, "__call__", attack)
    with pytest.raises(KeyError):
        transfer(configured())
    assert not Path("out/transfer.parquet").exists()
    calls.clear()
    failing = False
    pd.testing.assert_frame_equal(transfer(configured()), whole)
    client = mlflow.MlflowClient()
    found = client.search_runs([client.get_experiment_by_name("advforensics").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 2  # the whole one, and one that went on
    assert len({id(detector) for detector in calls}) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("checkpoints=[runs/1/checkpoint.pt]", "two detectors or more"),
        ("checkpoints=[runs/1/checkpoint.pt,runs/1/checkpoint.pt]", "a second detector named constrained-baseline-1"),
    ],
)
def test_detectors_that_cannot_be_compared_are_refused(configured: Compose, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transfer(configured(override))


def test_random_signs_fill_the_ball() -> None:
    images = torch.full((2, 1, 8, 8), 0.5)
    norms: tuple[Norm, ...] = ("linf", "l2")
    for norm in norms:
        change = RandomSigns(norm)(torch.nn.Identity(), images, torch.zeros(2), 0.01) - images
        torch.testing.assert_close(change.abs(), torch.full_like(images, 0.01))
        assert abs(float(change.sign().mean())) < 0.5
