"""``sweep(cfg)``: one table of the attacked test patches, the same each time; an interrupted sweep goes on."""

import json
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from configs import IGNORE_LIGHTNING_WARNINGS, TINY_DETECTOR, TINY_TRAINING, Compose, only
from omegaconf import DictConfig
from toys import toy_task

from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.detectors.cost import counted
from advforensics.evaluation.cascade import CascadeResult
from advforensics.evaluation.images import select_images
from advforensics.evaluation.settings import SweepSettings
from advforensics.persistence.journal import Journal, Outcome
from advforensics.statistics.curves import curves
from advforensics.statistics.sample_table import read_samples
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.sweep import sweep
from advforensics.train import train

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off


def checkpoint(composed: Compose, name: str, classes: tuple[str, ...], shape: tuple[int, ...] = (1, 32, 32)) -> Path:
    """Write an untrained detector's checkpoint."""
    config = composed("train", *TINY_DETECTOR, "folder=.")
    folder = Path(name)
    folder.mkdir()
    detector = build_detector(config, classes, shape)
    path = folder / "checkpoint.pt"
    save_checkpoint(path, detector, config=config, task="manipulation", classes=classes, shape=shape, commit="abc")
    return path


@pytest.fixture
def configured(composed: Compose, store: Path) -> Compose:
    """Return a function from overrides to the config of a small sweep over an untrained detector in ``one/``."""
    path = checkpoint(composed, "one", toy_task().classes)

    def of(*overrides: str) -> DictConfig:
        return composed("sweep", f"checkpoint={path}", f"store={store}", *(overrides or only("fgsm", "pgd")))

    return of


def table(folder: str = "one/sweep") -> pd.DataFrame:
    return read_samples(Path(folder) / "samples.parquet")


def spent(folder: str = "one/sweep") -> pd.DataFrame:
    """Return the costs of a sweep without the seconds."""
    return pd.read_csv(Path(folder) / "costs.csv").drop(columns="seconds")


@pytest.mark.usefixtures("sketched")
def test_costs_count_every_image_and_no_batch_is_larger_than_configured(
    configured: Compose, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load_checkpoint("one/checkpoint.pt")
    monkeypatch.setattr("advforensics.sweep.load", lambda target, store: trained)
    sizes = []
    trained.detector.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    kept = [
        override for override in only("fgsm") if override not in ("~ensemble.attacks.fmn", "~ensemble.postprocessing")
    ]
    small = ("batch_size=5", "images=9", "ensemble.attacks.fmn.steps=3", "gallery.pictures=7")
    with counted(trained.detector) as cost:
        metrics = sweep(configured(*kept, *small))
    costs = spent()
    assert set(costs["attack"]) - {"8bit"} == {
        "clean",
        "fmn",
        "fgsm",
        "postprocessing",
        "recompressed",
        "alarms",
        "gallery",
    }
    assert (costs["forward"].sum(), costs["backward"].sum()) == (cost.forward, cost.backward)
    assert (metrics["sweep_forward_images"], metrics["sweep_backward_images"]) == (cost.forward, cost.backward)
    assert max(sizes) == 5


@pytest.mark.usefixtures("sketched")
def test_files_of_an_earlier_sweep_go_and_those_of_the_same_sweep_stay(
    configured: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str]] = []

    def killed(settings: SweepSettings, ensemble: DictConfig) -> Iterator[CascadeResult]:
        """Note which files are there, write one, finish a batch and be killed."""
        files = Path(ensemble.domains.png.folder)
        found.append(sorted(path.name for path in files.glob("*")))
        files.mkdir(exist_ok=True)
        (files / f"{settings.seed}-{len(found)}.png").touch()
        settings.journal.get("batch", dict)
        raise PowerError

    monkeypatch.setattr("advforensics.evaluation.parts.run_ensemble", killed)
    Path("one/sweep/adversarial").mkdir(parents=True)
    Path("one/sweep/adversarial/stale.png").touch()
    for seed in (0, 0, 1):
        with pytest.raises(PowerError):
            sweep(configured("ensemble=paper", f"seed={seed}"))
    assert found == [[], ["0-1.png"], []]


@pytest.mark.usefixtures("sketched")
def test_the_whole_test_split_is_attacked_and_all_is_written(configured: Compose, store: Path) -> None:
    metrics = sweep(configured())
    rows = table()
    manifest = PatchStore(store).manifest("test")
    # Radii times attacks; in float, what was delivered in whole levels is tried as well.
    assert len(rows) == len(manifest) * 3 * (2 + 3)
    evaluated = rows.drop_duplicates("sample_id").set_index("sample_id").loc[manifest["patch_id"]]
    assert evaluated["label"].tolist() == manifest["label"].tolist()
    assert evaluated["group"].tolist() == manifest["group"].tolist()
    trained = load_checkpoint("one/checkpoint.pt")
    assert rows.attrs["classes"] == list(trained.classes)
    assert all((rows[fact] == value).all() for fact, value in trained.provenance().items())
    standing = rows.groupby(["domain", "eps_levels", "sample_id"])["correct"].all().groupby(["domain", "eps_levels"])
    for row in standing.mean().reset_index().to_dict("records"):
        name = f"robust_accuracy/linf/{row['domain']}/{row['eps_levels']:g}"
        assert metrics[name] == pytest.approx(row["correct"])
    assert json.loads(Path("one/sweep/metrics.json").read_text()) == metrics
    pd.testing.assert_frame_equal(pd.read_csv("one/sweep/curves.csv"), curves(rows).reset_index(drop=True))
    suffixes = {path.suffix for path in Path("one/sweep").iterdir() if path.is_file()}
    assert suffixes == {".parquet", ".csv", ".json", ".png", ".svg"}
    audit = Path("one/sweep/data/audit.json")
    assert audit.read_text() == (store / "audit.json").read_text()


@pytest.mark.usefixtures("sketched", "unprobed")
def test_a_whole_picture_is_classified_by_the_mean_of_its_patches(configured: Compose, store: Path) -> None:
    opened = PatchStore(store)
    manifest = opened.manifest("test")
    together = int(manifest.groupby(["content", "class"]).size().min())
    assert together > 1
    trained = load_checkpoint("one/checkpoint.pt")
    assert select_images(opened, trained, "test", 2, together)[:].patches == together
    sweep(configured(f"patches_per_picture={together}", *only("fgsm")))
    rows = table("one/pictures")
    clean = (
        rows[(rows["eps_levels"] == 0) & (rows["domain"] == "float")]
        .drop_duplicates("sample_id")
        .set_index("sample_id")
    )
    detector = trained.detector
    dataset = PatchDataset(opened, "test")
    for _, patches in manifest.groupby(["content", "class"]):
        with torch.no_grad():
            mean_logits = detector(dataset[patches.index[:together].to_numpy()][0]).mean(dim=0)
        assert clean.loc[patches["patch_id"].iloc[0], "predicted"] == int(mean_logits.argmax())
        assert clean.loc[patches["patch_id"].iloc[0], "group"] == patches["group"].iloc[0]
    assert (rows.loc[rows["domain"] == "float", "linf_levels"] <= rows["eps_levels"].max() + 1e-3).all()
    of_detector, run = runs()
    assert (of_detector.info.run_name, run.info.run_name) == ("baseline-1", "baseline-1 pictures")
    assert "accuracy/sweep pictures/clean" in of_detector.data.metrics
    with pytest.raises(ValueError, match="patches_per_picture=1000"):
        sweep(configured("patches_per_picture=1000", *only("fgsm")))


def runs() -> list[Any]:
    """Return the recorded runs, the oldest first."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("advforensics").experiment_id
    return list(client.search_runs([experiment], order_by=["start_time ASC"]))


@pytest.mark.usefixtures("sketched", "unprobed")
def test_the_run_has_curves_over_epsilon(configured: Compose) -> None:
    metrics = sweep(configured())
    of_detector, run = runs()
    client = mlflow.MlflowClient()
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == of_detector.info.run_id
    points = client.get_metric_history(run.info.run_id, "robust_accuracy/linf/float")
    assert [point.step for point in points] == [0, 500, 1000]
    assert [point.value for point in points] == [
        metrics[f"robust_accuracy/linf/float/{eps}"] for eps in ("0", "0.5", "1")
    ]
    figures = {item.path for item in client.list_artifacts(run.info.run_id, "figures")}
    assert {"figures/gallery.png", "figures/attacks-linf-float.png"} <= figures
    tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
    assert tables == {
        f"tables/{name}" for name in ("samples.parquet", "curves.csv", "costs.csv", "alarms.csv", "recompressed.csv")
    }
    assert of_detector.data.metrics["accuracy/sweep/linf_float_0.5"] == points[1].value
    for found in (of_detector, run):
        assert "few_photographs" in found.data.tags["alarms"]  # an untrained detector, too
        assert f"{points[2].value:.1%} [" in found.data.tags["mlflow.note.content"]


@pytest.mark.usefixtures("sketched", "unprobed")
@IGNORE_LIGHTNING_WARNINGS
def test_no_metric_of_any_run_has_two_values_at_a_step(composed: Compose, configured: Compose, store: Path) -> None:
    train(composed("train", f"store={store}", "folder=trained", *TINY_TRAINING))
    some = [override for override in only("fgsm", "pgd_l2") if override != "~ensemble.attacks.fmn"]
    both = [*some, "ensemble.attacks.fmn.steps=3", "ensemble.norms=[linf,l2]"]
    for again in ([], ["seed=1"], []):
        sweep(configured("checkpoint=trained/checkpoint.pt", *both, *again))
    of_detector, *sweeps = runs()
    assert {run.data.tags["mlflow.parentRunId"] for run in sweeps} == {of_detector.info.run_id}
    assert len(sweeps) == 3
    client = mlflow.MlflowClient()
    for run in (of_detector, *sweeps):
        for metric in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
            assert len(set(steps)) == len(steps), metric
    assert {"single_attack/linf/float/fmn", "single_attack/l2/float/fmn"} <= sweeps[0].data.metrics.keys()
    assert of_detector.data.metrics["test_accuracy"] == pytest.approx(of_detector.data.metrics["accuracy/sweep/clean"])
    for name, last in (("linf_float_1", "linf/float"), ("l2_8bit_1", "l2/8bit")):
        curve = sweeps[-1].data.metrics[f"robust_accuracy/{last}"]
        assert of_detector.data.metrics[f"accuracy/sweep/{name}"] == curve


class PowerError(Exception):
    """What stands for a power failure."""


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the batches that were worked out so far; the third fails the first time."""
    healthy, names = Journal.get, []

    def get(journal: Journal, name: str, work: Callable[[], Outcome]) -> Outcome:
        def record() -> Outcome:
            names.append(name)
            if len(names) == 3:
                raise PowerError
            return work()

        return healthy(journal, name, record)

    monkeypatch.setattr(Journal, "get", get)
    return names


@pytest.mark.usefixtures("unprobed")
def test_an_interrupted_sweep_goes_on_with_the_batch_it_was_at(
    configured: Compose, batches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise PowerError

    settings = [setting.replace("gallery.attack=fgsm", "gallery.attack=pgd") for setting in only("fgsm", "pgd")]
    with pytest.raises(PowerError):
        sweep(configured(*settings))
    with monkeypatch.context() as patched:
        patched.setattr("advforensics.evaluation.parts.write_samples", fail)  # after the last batch
        with pytest.raises(PowerError):
            sweep(configured(*settings))
    assert not Path("one/sweep/samples.parquet").exists()
    sweep(configured(*settings))
    assert [run.info.status for run in runs()] == ["FINISHED"] * 2  # the detector's, and one that went on
    first = batches.copy()
    assert first[2] == first[3]
    assert len(set(first)) == len(first) - 1
    resumed, costs, picture = table(), spent(), Path("one/sweep/gallery.png").read_bytes()
    sweep(configured(*settings))
    assert batches[len(first) :] == [*first[:2], *first[3:]]
    pd.testing.assert_frame_equal(resumed, table(), check_exact=True)
    pd.testing.assert_frame_equal(costs, spent())
    assert Path("one/sweep/gallery.png").read_bytes() == picture


@pytest.mark.usefixtures("sketched", "unprobed")
def test_other_settings_start_anew(configured: Compose, batches: list[str]) -> None:
    with pytest.raises(PowerError):
        sweep(configured("seed=1", *only("fgsm", "pgd")))
    sweep(configured())
    assert batches[3] == batches[0]
    assert not list(Path("one/sweep").glob("unfinished*"))


def test_a_sweep_killed_at_any_moment_ends_with_the_same_table(
    configured: Compose, processes: ForkServerContext
) -> None:
    sweep(configured())
    undisturbed = table()
    shutil.rmtree("one/sweep")
    rng = random.Random(0)
    kills = 0
    while not Path("one/sweep/metrics.json").exists():
        running = processes.Process(target=sweep, args=(configured(),))
        running.start()
        begun = time.monotonic()
        while running.is_alive() and not list(Path("one").glob("sweep/unfinished-*/**/*.pt")) and kills < 3:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        if kills < 3 and running.is_alive():
            running.kill()
            kills += 1
        running.join(120)
        assert time.monotonic() - begun < 120
    assert kills > 0
    pd.testing.assert_frame_equal(undisturbed, table(), check_exact=True)


def in_parts(*overrides: str) -> list[str]:
    """Return the overrides for a sweep of 18 images in parts of 5, with random starts and post-processing."""
    kept = [override for override in only("pgd") if override not in ("~ensemble.postprocessing", "images=null")]
    return [*kept, "images=18", "part_size=5", "batch_size=3", *overrides]


@pytest.mark.usefixtures("sketched", "unprobed")
def test_jobs_and_devices_share_a_sweep_and_its_table_is_the_same(configured: Compose) -> None:
    sweep(configured(*in_parts()))
    alone, costs = table(), spent()
    assert alone["sample_id"].nunique() == 18
    assert sweep(configured(*in_parts("parts=[3,1]"))) == {}
    with pytest.raises(ValueError, match=r"parts=\[4\]: there are parts 0 to 3"):
        sweep(configured(*in_parts("parts=[4]")))
    left = {path.name for path in Path("one/sweep").glob("unfinished-*/part-*.parquet")}
    assert left == {"part-00001.parquet", "part-00003.parquet"}
    sweep(configured(*in_parts("accelerator=cpu", "devices=2")))  # two processes do the other two
    pd.testing.assert_frame_equal(alone, table(), check_exact=True)
    pd.testing.assert_frame_equal(costs, spent())


@pytest.mark.usefixtures("sketched", "unprobed")
def test_a_part_depends_on_its_own_images_alone(configured: Compose) -> None:
    sweep(configured(*in_parts()))
    whole = table()
    first = whole["sample_id"].unique()[:5]
    sweep(configured(*[override for override in in_parts() if override != "images=18"], "images=5"))
    of_first = whole[whole["sample_id"].isin(first)].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_first.astype(table().dtypes), table(), check_exact=True)


def test_few_images_are_spread_over_photographs_and_classes(configured: Compose, store: Path) -> None:
    opened, trained = PatchStore(store), load_checkpoint("one/checkpoint.pt")
    manifest = opened.manifest("test")
    cells = manifest.groupby(["group", "label"]).ngroups
    evaluated = select_images(opened, trained, "test", cells)[:]
    assert len(set(zip(evaluated.groups, evaluated.labels.tolist(), strict=True))) == cells == len(evaluated.images)
    assert set(select_images(opened, trained, "val", None)[:].sample_ids) == set(opened.manifest("val")["patch_id"])
    assert select_images(opened, trained, "test", cells - 1)[:].sample_ids == evaluated.sample_ids[:-1]
    assert len(select_images(opened, trained, "test", None)[:].images) == len(manifest)
    by_id = manifest.set_index("patch_id").loc[list(evaluated.sample_ids)]
    assert by_id["label"].tolist() == evaluated.labels.tolist()


@pytest.mark.parametrize(
    ("classes", "shape"), [(("pristine", "larger", "blur"), (1, 32, 32)), (toy_task().classes, (3, 32, 32))]
)
def test_another_store_than_the_detectors_is_refused(
    configured: Compose, composed: Compose, classes: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    path = checkpoint(composed, "foreign", classes, shape)
    with pytest.raises(ValueError, match="give the store it was trained on"):
        sweep(configured(f"checkpoint={path}"))


def test_a_detector_must_be_given(composed: Compose, store: Path) -> None:
    with pytest.raises(ValueError, match="no detector given"):
        sweep(composed("sweep", f"store={store}", "folder=out"))


def test_a_sweep_without_attacks_is_refused(configured: Compose) -> None:
    with pytest.raises(ValueError, match="needs attacks"):
        sweep(configured(*only()))


def test_two_attacks_of_one_name_are_refused(configured: Compose) -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        sweep(configured(*only("fgsm"), "+attack@ensemble.attacks.second=fgsm"))


@pytest.mark.usefixtures("sketched")
def test_without_a_surrogate_a_black_box_is_swept_with_black_box_attacks_alone(
    configured: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    left = [override for override in only("fgsm") if override != "~ensemble.attacks.square"]
    box = ["target=callable", "target.function._target_=toys.brightness", "folder=out"]
    sweep(configured(*left, "ensemble.attacks.square.build.n_queries=5", "ensemble.without_gradients=null", *box))
    assert set(table("out")["attack"]) == {"square", "8bit"}
    assert "fgsm are left out" in caplog.text


@pytest.mark.usefixtures("sketched")
def test_a_black_box_meets_white_boxes_too_by_a_stand_in_and_a_red_alarm_says_that_its_curve_is_an_upper_bound(
    configured: Compose, batches: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    box = ["target=callable", "target.function._target_=toys.brightness", "folder=out/box/sweep"]
    fit = "ensemble.without_gradients.surrogate.fit"
    caplog.set_level("INFO")
    few = [f"{fit}.epochs=1", f"{fit}.batch_size=8", "ensemble.without_gradients.attacks.square_long.build.n_queries=3"]
    settings = configured(*only("pgd"), *few, *box)
    with pytest.raises(PowerError):
        sweep(settings)
    sweep(settings)
    assert batches.count("surrogate") == 1  # fitted once, though the sweep was killed after it
    rows, costs = table("out/box/sweep"), spent("out/box/sweep")
    assert list(rows["attack"].unique()) == ["pgd", "square_long", "8bit"]
    assert set(rows["knowledge"]) == {"black box"}
    train_patches = len(PatchDataset(PatchStore(settings.store), "train"))
    assert costs.loc[costs["attack"] == "surrogate", "forward"].tolist() == [2 * train_patches]
    assert "ALARM black_box_only: 0 of 3 attacks saw gradients" in caplog.text
    assert re.search(r"\] of the pristine ones falsely accused, at most \d", caplog.text)


def test_a_surrogate_needs_patches_to_be_fitted_on(configured: Compose) -> None:
    box = ["target=callable", "target.function._target_=toys.brightness", "folder=out"]
    with pytest.raises(ValueError, match=r"split=nowhere: .* has no patches there"):
        sweep(configured(*only("pgd"), *box, "ensemble.without_gradients.surrogate.split=nowhere"))
