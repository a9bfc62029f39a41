"""``sweep(cfg)``: one table of the attacked test patches, the same each time, gone on with after an interruption."""

import json
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig, MissingMandatoryValue
from toys import TINY_DETECTOR, Compose, only, toy_task

from advforensics.attacks.gateway import Attack
from advforensics.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.data import PatchStore
from advforensics.robustness.engine import Engine
from advforensics.robustness.samples import read_samples
from advforensics.sweep import select, sweep

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off


def checkpoint(composed: Compose, name: str, classes: tuple[str, ...], shape: tuple[int, ...] = (1, 32, 32)) -> Path:
    """Write an untrained detector's checkpoint."""
    config = composed("train", *TINY_DETECTOR, "folder=.")
    folder = Path(name)
    folder.mkdir()
    detector = build_detector(config, classes, shape)
    save_checkpoint(folder / "checkpoint.pt", detector, config=config, classes=classes, shape=shape, commit="abc")
    return folder / "checkpoint.pt"


@pytest.fixture
def sweeping(composed: Compose, store: Path) -> Compose:
    """Return a function from overrides to the config of a small sweep over an untrained detector in ``one/``."""
    path = checkpoint(composed, "one", toy_task().classes)

    def of(*overrides: str) -> DictConfig:
        return composed("sweep", f"checkpoint={path}", f"store={store}", *(overrides or only("fgsm", "pgd")))

    return of


def table(folder: str = "one/sweep") -> pd.DataFrame:
    return read_samples(Path(folder) / "samples.parquet")


def test_the_whole_test_split_is_attacked_and_all_is_written(sweeping: Compose, store: Path) -> None:
    metrics = sweep(sweeping())
    rows = table()
    manifest = PatchStore(store).manifest("test")
    assert len(rows) == len(manifest) * 2 * 3 * 2  # attacks, radii, domains
    chosen = rows.drop_duplicates("sample_id").set_index("sample_id").loc[manifest["patch_id"]]
    assert chosen["label"].tolist() == manifest["label"].tolist()
    assert chosen["group"].tolist() == manifest["group"].tolist()
    trained = load_checkpoint("one/checkpoint.pt")
    assert rows.attrs["classes"] == list(trained.classes)
    assert all((rows[fact] == value).all() for fact, value in trained.facts().items())
    standing = rows.groupby(["domain", "eps_levels", "sample_id"])["correct"].all().groupby(["domain", "eps_levels"])
    for row in standing.mean().reset_index().to_dict("records"):
        name = f"robust_accuracy/linf/{row['domain']}/{row['eps_levels']:g}"
        assert metrics[name] == pytest.approx(row["correct"])
    assert json.loads(Path("one/sweep/metrics.json").read_text()) == metrics
    assert len(pd.read_csv("one/sweep/curves.csv")) > 0
    kinds = {path.suffix for path in Path("one/sweep").iterdir()}
    assert kinds == {".parquet", ".csv", ".json", ".png", ".svg"}


def test_the_run_has_curves_over_epsilon(sweeping: Compose) -> None:
    metrics = sweep(sweeping())
    sweep(sweeping("seed=1", *only("fgsm")))
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("advforensics").experiment_id])
    assert run.info.status == "FINISHED"
    points = client.get_metric_history(run.info.run_id, "robust_accuracy/linf/float")[:3]
    assert [point.step for point in points] == [0, 500, 1000]
    assert [point.value for point in points] == [
        metrics[f"robust_accuracy/linf/float/{eps}"] for eps in ("0", "0.5", "1")
    ]
    figures = {item.path for item in client.list_artifacts(run.info.run_id, "figures")}
    assert {"figures/gallery.png", "figures/attacks-linf-float.png"} <= figures
    tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert tables == {"tables/samples.parquet", "tables/curves.csv"}


class PowerError(Exception):
    """What stands for a power failure."""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the attacks that were run, as they are; the first PGD fails."""
    healthy, names = Engine.run, []

    def run(engine: Engine, attack: Attack) -> pd.DataFrame:
        names.append(attack.name)
        if attack.name == "pgd" and names.count("pgd") == 1:
            raise PowerError
        return healthy(engine, attack)

    monkeypatch.setattr(Engine, "run", run)
    return names


def test_an_interrupted_sweep_goes_on_with_the_attack_it_was_at(sweeping: Compose, ran: list[str]) -> None:
    with pytest.raises(PowerError):
        sweep(sweeping())
    assert not Path("one/sweep/samples.parquet").exists()
    sweep(sweeping())
    assert ran == ["fgsm", "pgd", "pgd"]
    resumed = table()
    sweep(sweeping())
    assert ran[3:] == ["fgsm", "pgd"]
    pd.testing.assert_frame_equal(resumed, table(), check_exact=True)


def test_other_settings_do_not_go_on_with_it(sweeping: Compose, ran: list[str]) -> None:
    with pytest.raises(PowerError):
        sweep(sweeping("seed=1", *only("fgsm", "pgd")))
    sweep(sweeping())
    assert ran == ["fgsm", "pgd", "fgsm", "pgd"]
    assert not list(Path("one/sweep").glob("unfinished*"))


def test_few_images_are_spread_over_photographs_and_classes(sweeping: Compose, store: Path) -> None:
    opened, trained = PatchStore(store), load_checkpoint("one/checkpoint.pt")
    manifest = opened.manifest("test")
    kinds = manifest.groupby(["group", "label"]).ngroups
    chosen = select(opened, trained, "test", kinds)
    assert len(set(zip(chosen.groups, chosen.labels.tolist(), strict=True))) == kinds == len(chosen.images)
    assert set(select(opened, trained, "val", None).sample_ids) == set(opened.manifest("val")["patch_id"])
    assert select(opened, trained, "test", kinds - 1).sample_ids == chosen.sample_ids[:-1]
    assert len(select(opened, trained, "test", None).images) == len(manifest)
    by_id = manifest.set_index("patch_id").loc[list(chosen.sample_ids)]
    assert by_id["label"].tolist() == chosen.labels.tolist()


@pytest.mark.parametrize(
    ("classes", "shape"), [(("pristine", "larger", "blur"), (1, 32, 32)), (toy_task().classes, (3, 32, 32))]
)
def test_another_store_than_the_detectors_is_refused(
    sweeping: Compose, composed: Compose, classes: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    path = checkpoint(composed, "foreign", classes, shape)
    with pytest.raises(ValueError, match="give the store it was trained on"):
        sweep(sweeping(f"checkpoint={path}"))


def test_the_checkpoint_must_be_given(composed: Compose) -> None:
    with pytest.raises(MissingMandatoryValue, match="checkpoint"):
        sweep(composed("sweep"))


def test_a_sweep_without_attacks_is_refused(sweeping: Compose) -> None:
    with pytest.raises(ValueError, match="at least one"):
        sweep(sweeping(*only()))


def test_two_attacks_of_one_name_are_refused(sweeping: Compose) -> None:
    with pytest.raises(ValueError, match="two bear the same name"):
        sweep(sweeping(*only("fgsm"), "+attack@attacks.again=fgsm"))
