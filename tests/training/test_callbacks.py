"""Which epoch is kept and by what numbers, the course of a training, and its random numbers."""

import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from toys import LEARNT, QUIET, Brightness, Sharpness, config

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margin
from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.store.datamodule import PatchData
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.train import train
from advforensics.training.robust_validation import RobustValidation, standard_error, survival
from advforensics.training.seeding import EpochSeed
from advforensics.training.training_log import TrainingLog

pytestmark = QUIET
ATTACK = Ascent("apgd", "linf", margin, steps=5)
ATTACKED = 17  # images of each split that robust validation takes here
EPS_LEVELS = 1


@dataclass(frozen=True)
class Verdict:
    """What the detector that was kept says of a split.

    Attributes:
        right: Whether it is right about each picture.
        loss: Its mean cross-entropy.
        before: Whether it is right about each picture that robust validation attacks.
        under: Whether it still is under that attack.
        forward: Pictures that went through the detector for `before` and `under`.
    """

    right: Tensor
    loss: float
    before: Tensor
    under: Tensor
    forward: int


@dataclass(frozen=True)
class Learnt:
    """A training that learns for two epochs and is ruined in the third.

    Attributes:
        metrics: What it returned.
        course: Its ``training.csv`` by epoch.
        verdicts: Of the detector that was kept, on each split.
        raw: Of the same epoch's weights on validation pictures, had they not been averaged.
    """

    metrics: dict[str, float]
    course: pd.DataFrame
    verdicts: dict[str, Verdict]
    raw: Verdict


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, store: Path, database: Path) -> Learnt:
    """Return the training. Its test labels are all wrong: no score of the test split passes for another."""
    folder = tmp_path_factory.mktemp("learnt")
    shutil.copy(database, folder / "mlflow.db")
    shutil.copytree(store, folder / "store")
    manifest = pd.read_parquet(store / "manifest.parquet")
    manifest.loc[manifest["split"] == "test", "label"] = (manifest["label"] + 1) % 3
    manifest.to_parquet(folder / "store" / "manifest.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cfg = config("train", "store=store", "folder=.", *LEARNT, f"selection.robust_validation.images={ATTACKED}")
        metrics = train(cfg)
    detector = load_checkpoint(folder / "checkpoint.pt").detector
    attack = instantiate(cfg.selection.robust_validation.attack)
    splits = {split: PatchDataset(PatchStore(folder / "store"), split) for split in ("train", "val", "test")}
    verdicts = {split: verdict(detector, patches, attack) for split, patches in splits.items()}
    detector.load_state_dict(torch.load(folder / f"raw-{metrics['epoch']}.pt"))
    raw = verdict(detector, splits["val"], attack)
    return Learnt(metrics, pd.read_csv(folder / "training.csv").set_index("epoch"), verdicts, raw)


def verdict(detector: nn.Module, patches: PatchDataset, attack: Any) -> Verdict:
    images, labels = patches[range(len(patches))]
    logits = detector(images)
    some, truth = patches[patches.balanced(ATTACKED)]
    forward = [0]
    counting = detector.register_forward_hook(lambda _, inputs, __: forward.append(len(inputs[0])))
    before = detector(some).argmax(1) == truth
    under = before.clone()
    found = attack(detector, some[before], truth[before], EPS_LEVELS * LEVEL)
    under[before] = detector(found).argmax(1) == truth[before]
    counting.remove()
    loss = F.cross_entropy(logits, labels).item()
    return Verdict(logits.argmax(1) == labels, loss, before, under, sum(forward))


def share(right: Tensor) -> float:
    return right.float().mean().item()


def test_no_number_of_this_training_passes_for_another(learnt: Learnt) -> None:
    validation, test, raw = learnt.verdicts["val"], learnt.verdicts["test"], learnt.raw
    assert share(test.right) < 0.2 < 0.4 < share(validation.under) < share(validation.before)
    assert share(raw.under) != share(validation.under)
    assert learnt.course["val_accuracy"].iloc[-1] < 1 / 3 < 0.8 < share(validation.right)


def test_the_epoch_that_is_kept_is_not_a_ruined_one_that_came_later(learnt: Learnt) -> None:
    assert learnt.course["keep_epoch"].tolist() == [1, 2, 0]
    assert learnt.course["val_robust_area"].idxmax() == 2
    assert learnt.metrics["epoch"] == 2


def test_clean_scores_are_those_of_the_averaged_weights_that_are_kept(learnt: Learnt) -> None:
    told = learnt.course.loc[learnt.metrics["epoch"]]
    validation = learnt.verdicts["val"]
    assert told["val_loss"] == pytest.approx(validation.loss, rel=1e-5)
    assert told["val_accuracy"] == pytest.approx(share(validation.right))
    assert learnt.metrics["test_accuracy"] == pytest.approx(share(learnt.verdicts["test"].right))
    assert {name: learnt.metrics[name] for name in learnt.metrics if name.startswith("val_")} == {
        name: value for name, value in told.items() if str(name).startswith("val_")
    }


def test_robust_scores_are_those_of_the_kept_weights_on_validation_pictures(learnt: Learnt) -> None:
    told = learnt.course.loc[learnt.metrics["epoch"]]
    validation = learnt.verdicts["val"]
    assert told["val_robust_accuracy"] == pytest.approx(share(validation.under))
    assert told["train_robust_accuracy"] == pytest.approx(share(learnt.verdicts["train"].under))
    assert told["val_robust_area"] == pytest.approx((share(validation.before) + share(validation.under)) / 2)


def test_an_epoch_costs_its_steps_and_its_validation(learnt: Learnt) -> None:
    epoch = int(learnt.metrics["epoch"])
    spent = learnt.course.diff().loc[epoch]
    judged = [learnt.verdicts["val"], learnt.verdicts["train"]]
    steps = len(learnt.verdicts["train"].right)
    assert spent["backward_images"] == steps + sum(one.before.sum().item() for one in judged)
    assert spent["forward_images"] == steps + len(judged[0].right) + sum(one.forward for one in judged)


def halves(counts: dict[float, int]) -> NDArray[np.float64]:
    """Return so many images that survive so far: 1, ½ or 0."""
    return np.repeat(list(counts), list(counts.values()))


def callback(best: float = 0.0) -> RobustValidation:
    made = RobustValidation(ATTACK, eps_levels=1, images=100)
    made.load_state_dict({"best": best})
    return made


VALUES = np.random.default_rng(0).choice([0, 0.5, 1], size=60, p=[0.2, 0.3, 0.5])


def test_where_every_photograph_has_one_patch_the_error_is_the_usual_one() -> None:
    assert standard_error(VALUES, np.arange(60)) == pytest.approx(stats.sem(VALUES), rel=1e-12)


def test_patches_that_all_agree_with_their_photograph_tell_no_more_than_it_does() -> None:
    photographs = np.random.default_rng(1).permutation(np.repeat(np.arange(60), 4))
    found = standard_error(VALUES[photographs], photographs)
    assert found == pytest.approx(stats.sem(VALUES), rel=1e-12)
    assert found == pytest.approx(2 * stats.sem(VALUES[photographs]), rel=0.02)  # what it would be, were they strangers


def test_the_error_is_that_of_a_bootstrap_over_photographs() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 8, size=40)
    photographs = np.repeat(np.arange(40), sizes)
    values = np.clip(np.repeat(rng.normal(0.6, 0.3, 40), sizes) + rng.normal(0, 0.2, len(photographs)), 0, 1)
    drawn = rng.multinomial(40, np.full(40, 1 / 40), size=20_000)
    sums = np.bincount(photographs, values)
    means = drawn @ sums / (drawn @ sizes)
    assert standard_error(values, photographs) == pytest.approx(means.std() * np.sqrt(40 / 39), rel=0.03)


@pytest.mark.parametrize("together", [1, 3])
def test_an_epoch_is_kept_to_within_one_standard_error_of_the_best(together: int) -> None:
    photographs = np.arange(60) // together
    area, error = VALUES.mean(), standard_error(VALUES, photographs)
    assert callback(area + 0.999 * error).good(VALUES, photographs)
    assert not callback(area + 1.001 * error).good(VALUES, photographs)


def test_the_best_epoch_so_far_is_always_kept_and_remembered_over_a_pause() -> None:
    photographs = np.arange(100)
    first = callback()
    assert first.good(halves({1: 20, 0.5: 30, 0: 50}), photographs)
    assert first.good(halves({1: 100}), photographs)  # of which the error is 0
    second = callback()
    second.load_state_dict(first.state_dict())
    assert not second.good(halves({1: 90, 0: 10}), photographs)
    assert second.good(halves({1: 100}), photographs)
    assert callback().good(halves({1: 90, 0: 10}), photographs)


def test_one_photograph_tells_no_epoch_from_another() -> None:
    assert callback(best=1.0).good(halves({1: 1, 0: 9}), np.zeros(10, int))


def test_an_image_survives_the_attack_or_until_it_or_not_at_all() -> None:
    # Brightness takes what is brighter than mid-grey for class 1.
    levels = torch.tensor([0.5 + 3 * LEVEL, 0.5 + LEVEL, 0.5 - LEVEL, 0.5 - 3 * LEVEL])
    images = levels.view(4, 1, 1, 1).expand(4, 1, 8, 8)
    for label, expected in [(1, [1, 0.5, 0, 0]), (0, [0, 0, 0.5, 1])]:
        found = survival(Brightness(), images, torch.full((4,), label), ATTACK, 2 * LEVEL)
        assert found.tolist() == expected


def softened(detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return images of which the bright ones have lost contrast: an attack that draws nothing."""
    return torch.where(images.mean(dim=(1, 2, 3), keepdim=True) > 0.5, 0.7 * images, images)


def sharp() -> Sharpness:
    """Return a detector of the toy task that is right about some pictures."""
    detector = Sharpness(3)
    with torch.no_grad():
        detector.head.weight[:, 2] = torch.tensor([1.0, -1.0, 0.0])
    return detector


def validated(store: Path, processes: int, best: float = 0.0) -> dict[str, float]:
    """Return what robust validation logs where so many processes, here threads, share its images."""
    told: dict[str, float] = {}
    given: dict[int, Tensor] = {}
    meet = threading.Barrier(processes)

    def process(rank: int) -> None:
        def reduce(mine: Tensor, reduce_op: str) -> Tensor:
            given[rank] = mine
            meet.wait()
            total = torch.stack([given[other] for other in range(processes)]).sum(0)
            meet.wait()
            return total

        def log(name: str, value: float, sync_dist: bool) -> None:
            told[name] = float(value)

        trainer: Any = SimpleNamespace(
            datamodule=PatchData(store, 6, None, seed=0),
            global_rank=rank,
            world_size=processes,
            current_epoch=4,
            strategy=SimpleNamespace(reduce=reduce),
        )
        module: Any = SimpleNamespace(detector=sharp(), device=torch.device("cpu"), log=log)
        watching = RobustValidation(cast(Ascent, softened), eps_levels=1, images=13)
        watching.load_state_dict({"best": best})
        watching.on_fit_start(trainer, module)
        watching.on_validation_epoch_end(trainer, module)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(process, range(processes)))
    return told


def test_several_processes_find_what_one_does(store: Path) -> None:
    alone = validated(store, 1)
    assert alone["val_robust_accuracy"] < alone["val_robust_area"] < 1  # some survive, some until the attack
    assert validated(store, 2) == validated(store, 3) == alone
    patches = PatchDataset(PatchStore(store), "val")
    chosen = patches.balanced(13)
    images, labels = patches[chosen]
    survived = survival(sharp(), images, labels, cast(Ascent, softened), LEVEL).double().numpy()
    error = standard_error(survived, pd.factorize(patches.manifest["group"].iloc[chosen])[0])
    for errors, kept in [(0.99, 5), (1.01, 0)]:
        best = float(survived.mean()) + errors * error
        assert {validated(store, processes, best)["keep_epoch"] for processes in (1, 2, 3)} == {kept}


def test_the_course_tells_seconds_the_share_of_them_that_was_waited_and_images_of_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    others = torch.tensor([70, 30])  # forward and backward images of an epoch in the other processes
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        current_epoch=0,
        max_epochs=2,
        callback_metrics={"val_loss": torch.tensor(0.5)},
        strategy=SimpleNamespace(reduce=lambda mine, reduce_op: {"sum": mine + others}[reduce_op]),
    )
    detector = nn.Linear(4, 3)
    module: Any = SimpleNamespace(detector=detector, device=torch.device("cpu"), log_dict=lambda *args, **options: None)
    state = TrainingLog(tmp_path / "training.csv").state_dict()
    for pause in (100.0, 1000.0):  # before each of two processes that do an epoch each
        course = TrainingLog(tmp_path / "training.csv")
        course.load_state_dict(state)
        clock[0] += pause
        course.on_fit_start(trainer, module)
        course.on_train_epoch_start(trainer, module)
        for waited, stepped in [(1, 4), (2, 13)]:
            clock[0] += waited
            course.on_train_batch_start(trainer, module, None, 0)
            clock[0] += stepped
            course.on_train_batch_end(trainer, module, None, None, 0)
        detector(torch.rand(5, 4)).sum().backward()
        with torch.no_grad():
            detector(torch.rand(2, 4))
        clock[0] += 5  # validation
        course.on_train_epoch_end(trainer, module)
        state = course.state_dict()
        trainer.current_epoch += 1
    told = pd.read_csv(tmp_path / "training.csv")
    assert told["seconds"].tolist() == [25, 50]
    assert told["waiting"].tolist() == [0.15, 0.15]
    assert told["forward_images"].tolist() == [77, 154]
    assert told["backward_images"].tolist() == [35, 70]
    assert told["val_loss"].tolist() == [0.5, 0.5]


def test_an_epoch_draws_the_same_whatever_went_before() -> None:
    def draws(epoch: int, rank: int = 0, seed: int = 3) -> tuple[float, float, float]:
        trainer: Any = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        EpochSeed(seed).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = draws(0)
    others = [draws(1), draws(0, rank=1), draws(0, seed=4)]
    assert draws(0) == first
    assert len({first, *others}) == 4
