"""Which epoch of a training is kept, which weights its scores belong to, and what an epoch costs."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from configs import IGNORE_LIGHTNING_WARNINGS, config
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.train import train

pytestmark = IGNORE_LIGHTNING_WARNINGS
ATTACKED = 17  # images of each split that robust validation attacks
EPS_LEVELS = 1
TRAINING = (  # two epochs of learning and a third that ruins the detector, with an attack that draws no random numbers
    "detector=module",
    f"detector.model.network._target_={__name__}.Sharpness",
    "defense.module.optimizer.lr=0.04",
    f"defense.module.scheduler._target_={__name__}.ascend_in_last_epoch",
    "~defense.module.scheduler.max_lr",
    "averaging.decay=0.95",
    "+attack@selection.robust_validation.attack=fgsm",
    *(f"~selection.robust_validation.attack.{name}" for name in ("steps", "loss")),
    f"selection.robust_validation.eps_levels={EPS_LEVELS}",
    f"selection.robust_validation.images={ATTACKED}",
    "defense.monitor=keep_epoch",
    f"defense.guard={{_target_: {__name__}.SaveRawWeights}}",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "batch_size=3",
)


class Sharpness(nn.Module):
    """A linear map of three measures of how sharp a picture is, which can be trained in a dozen steps.

    Args:
        num_classes: Logits.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, num_classes)``."""
        differences = [images.diff(n=order, dim=3).square().mean(dim=(1, 2, 3)) for order in (1, 2, 3)]
        logits: Tensor = self.head(torch.stack(differences, dim=1).add(1e-4).log() + 4)
        return logits


def ascend_in_last_epoch(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """Return a schedule for three epochs with a negative learning rate in the last, so that it is the worst."""
    return LambdaLR(optimizer, lambda step: 1.0 if step < 2 * total_steps / 3 else -20.0)


class SaveRawWeights(pl.Callback):
    """Saves the detector's weights, not averaged, in the current folder after each epoch."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save them."""
        assert isinstance(module.detector, nn.Module)
        torch.save(module.detector.state_dict(), f"raw-{trainer.current_epoch + 1}.pt")


@dataclass(frozen=True)
class Scores:
    """A detector's scores on a split, computed without the training's own code.

    Attributes:
        correct: Whether it is right about each picture.
        loss: Its mean cross-entropy.
        attacked_correct: Whether it is right about each picture that robust validation attacks, without the attack.
        robust: Whether it is right about them under the attack.
        forward: Pictures that went through the detector for `attacked_correct` and `robust`.
    """

    correct: Tensor
    loss: float
    attacked_correct: Tensor
    robust: Tensor
    forward: int


@dataclass(frozen=True)
class Trained:
    """A training that learns for two epochs and is ruined in the third.

    Attributes:
        metrics: What ``train`` returned.
        log: Its ``training.csv`` by epoch.
        scores: Of the detector that was kept, on each split.
        raw: Of the same epoch's weights without averaging, on the validation split.
    """

    metrics: dict[str, float]
    log: pd.DataFrame
    scores: dict[str, Scores]
    raw: Scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, store: Path, database: Path) -> Trained:
    """Return the training. All labels of the test split are wrong, so that its scores differ from all others."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(database, folder / "mlflow.db")
    shutil.copytree(store, folder / "store")
    manifest = pd.read_parquet(store / "manifest.parquet")
    manifest.loc[manifest["split"] == "test", "label"] = (manifest["label"] + 1) % 3
    manifest.to_parquet(folder / "store" / "manifest.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cfg = config("train", "store=store", "folder=.", *TRAINING)
        metrics = train(cfg)
    detector = load_checkpoint(folder / "checkpoint.pt").detector
    attack = instantiate(cfg.selection.robust_validation.attack)
    splits = {split: PatchDataset(PatchStore(folder / "store"), split) for split in ("train", "val", "test")}
    scores = {split: score(detector, patches, attack) for split, patches in splits.items()}
    detector.load_state_dict(torch.load(folder / f"raw-{metrics['epoch']}.pt"))
    raw = score(detector, splits["val"], attack)
    return Trained(metrics, pd.read_csv(folder / "training.csv").set_index("epoch"), scores, raw)


def score(detector: nn.Module, patches: PatchDataset, attack: Any) -> Scores:
    images, labels = patches[range(len(patches))]
    logits = detector(images)
    attacked, truth = patches[patches.balanced(ATTACKED)]
    forward = [0]
    hook = detector.register_forward_hook(lambda _, inputs, __: forward.append(len(inputs[0])))
    correct = detector(attacked).argmax(1) == truth
    robust = correct.clone()
    examples = attack(detector, attacked[correct], truth[correct], EPS_LEVELS * LEVEL)
    robust[correct] = detector(examples).argmax(1) == truth[correct]
    hook.remove()
    loss = F.cross_entropy(logits, labels).item()
    return Scores(logits.argmax(1) == labels, loss, correct, robust, sum(forward))


def share(correct: Tensor) -> float:
    return correct.float().mean().item()


def test_the_scores_to_compare_are_all_different(trained: Trained) -> None:
    validation, test, raw = trained.scores["val"], trained.scores["test"], trained.raw
    assert share(test.correct) < 0.2 < 0.4 < share(validation.robust) < share(validation.attacked_correct)
    assert share(raw.robust) != share(validation.robust)
    assert trained.log["val_accuracy"].iloc[-1] < 1 / 3 < 0.8 < share(validation.correct)


def test_a_later_epoch_with_worse_weights_is_not_kept(trained: Trained) -> None:
    assert trained.log["keep_epoch"].tolist() == [1, 2, 0]
    assert trained.log["val_robust_area"].idxmax() == 2
    assert trained.metrics["epoch"] == 2


def test_clean_scores_are_those_of_the_averaged_weights_of_the_kept_epoch(trained: Trained) -> None:
    row = trained.log.loc[trained.metrics["epoch"]]
    validation = trained.scores["val"]
    assert row["val_loss"] == pytest.approx(validation.loss, rel=1e-5)
    assert row["val_accuracy"] == pytest.approx(share(validation.correct))
    assert trained.metrics["test_accuracy"] == pytest.approx(share(trained.scores["test"].correct))
    assert {name: trained.metrics[name] for name in trained.metrics if name.startswith("val_")} == {
        name: value for name, value in row.items() if str(name).startswith("val_")
    }


def test_robust_scores_are_those_of_the_kept_weights(trained: Trained) -> None:
    row = trained.log.loc[trained.metrics["epoch"]]
    validation = trained.scores["val"]
    assert row["val_robust_accuracy"] == pytest.approx(share(validation.robust))
    assert row["train_robust_accuracy"] == pytest.approx(share(trained.scores["train"].robust))
    assert row["val_robust_area"] == pytest.approx((share(validation.attacked_correct) + share(validation.robust)) / 2)


def test_the_cost_of_an_epoch_is_that_of_its_steps_and_its_validation(trained: Trained) -> None:
    epoch = int(trained.metrics["epoch"])
    cost = trained.log.diff().loc[epoch]
    attacked = [trained.scores["val"], trained.scores["train"]]
    steps = len(trained.scores["train"].correct)
    assert cost["backward_images"] == steps + sum(split.attacked_correct.sum().item() for split in attacked)
    assert cost["forward_images"] == steps + len(attacked[0].correct) + sum(split.forward for split in attacked)
