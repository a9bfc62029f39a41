"""Small things to test with: photographs, a task, detectors, settings that make the entry points quick."""

import atexit
import copy
import hashlib
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from advforensics.cli import config_dir, main
from advforensics.detectors.constrained import ConstrainedConv
from advforensics.detectors.detector import Detector
from advforensics.detectors.trunk import Trunk
from advforensics.sources.base import Picture, Rejection, Source
from advforensics.store.cutting import Cutter
from advforensics.tasks.manipulation import Manipulation, Operation, resample
from advforensics.tracking.experiment import PARENT_RUN
from advforensics.training.overfitting import OverfittingGuard

yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]  # the same for Hydra, and several times as fast

Compose = Callable[..., DictConfig]  # from a command and overrides to its config

CUTTER = Cutter(
    size=32,
    short_side=None,
    per_photograph=2,
    colour="green",
    min_std=2.0,
    val=0.3,
    test=0.3,
    min_photographs=2,
    seed=0,
)
TINY_DETECTOR = (
    "detector=constrained",
    "detector.model.front_end.filters=2",
    "detector.model.trunk.widths=[4,4]",
    "detector.model.trunk.strides=[2,2]",
)
TINY_TRAINING = (*TINY_DETECTOR, "trainer.accelerator=cpu", "trainer.max_epochs=2", "batch_size=8")
QUIET = pytest.mark.filterwarnings(  # Lightning, about its own use of torch and about how little there is to do
    "ignore:.*LeafSpec.*",
    "ignore:.*logging interval.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*is not empty.*",
)
ATTACKS = sorted(path.stem for path in (config_dir() / "attack").glob("*.yaml"))
DEFENSES = sorted(path.stem for path in (config_dir() / "defense").glob("*.yaml"))


ENSEMBLE = ("fmn", "apgd_ce", "apgd_t", "apgd_thorough", "square")  # attacks of ensemble=standard


def config(command: str, *overrides: str) -> DictConfig:
    """Return the composed config of a command."""
    return copy.deepcopy(_config(command, overrides))


@cache
def _config(command: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        composed: DictConfig = compose(command, list(overrides))
        return composed


def only(*attacks: str) -> list[str]:
    """Return the overrides that leave a sweep with these attacks of ``conf/attack``, in L∞, and few radii."""
    return [
        *(f"~ensemble.attacks.{name}" for name in ENSEMBLE),
        *(f"+attack@ensemble.attacks.{name}={name}" for name in attacks),
        *("~ensemble.postprocessing", "ensemble.norms=[linf]", "ensemble.domains.eightbit.passes=2"),
        *("attack@gallery.attack=fgsm", "gallery.pictures=2", "images=null", "eps_levels=[0,0.5,1]"),
    ]


def picture(number: int, pixels: NDArray[np.uint8] | None = None) -> Picture:
    """Return a photograph of 72x96 pixels: soft colours under noise, or the pixels given."""
    if pixels is None:
        rng = np.random.default_rng(number)
        soft = cv2.resize(rng.uniform(40, 215, (6, 8, 3)), (96, 72), interpolation=cv2.INTER_CUBIC)
        pixels = (soft + rng.normal(0, 8, soft.shape)).round().clip(0, 255).astype(np.uint8)
    return Picture(f"photo-{number}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)


class Textures(Source):
    """Photographs ``first`` to ``first + pictures``, behind whatever it is told to reject."""

    def __init__(self, pictures: int, first: int = 0, rejections: Sequence[Rejection] = ()) -> None:
        self.candidates: list[int | Rejection] = [*rejections, *range(first, first + pictures)]

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph or a rejection."""
        candidate = self.candidates[index]
        return candidate if isinstance(candidate, Rejection) else picture(candidate)

    def __len__(self) -> int:
        """Return how many there are of both."""
        return len(self.candidates)

    @property
    def identity(self) -> str:
        """All there is to it."""
        return repr(self.candidates)


def sift(source: Source) -> tuple[list[Picture], list[Rejection]]:
    """Return what a source gives, and what it does not."""
    candidates = list(source)
    pictures = [candidate for candidate in candidates if isinstance(candidate, Picture)]
    return pictures, [candidate for candidate in candidates if isinstance(candidate, Rejection)]


def toy_task(**options: Any) -> Manipulation:
    """Return a task of three classes; one draws a real number and one changes the size of the picture."""
    operations = {
        "pristine": Operation(A.NoOp),
        "blur": Operation(partial(A.GaussianBlur, blur_limit=0), {"sigma_limit": [1.0, 1.5]}),
        "larger": Operation(resample, {"scale_range": [1.5, 2.0]}),
    }
    return Manipulation("toy", operations, **options)


def tiny_detector(channels: int = 1, classes: int = 3, seed: int = 0) -> Detector:
    """Return a small detector in training mode whose batch statistics have moved off their start."""
    return copy.deepcopy(_tiny_detector(channels, classes, seed))


@cache
def _tiny_detector(channels: int, classes: int, seed: int) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector(
            channels,
            classes,
            front_end=partial(ConstrainedConv, filters=2, size=3),
            truncation_levels=64.0,
            trunk=partial(Trunk, widths=[4, 4], strides=[2, 2], spread=True, activation=nn.SiLU),
        )
        for _ in range(50):
            detector(torch.rand(8, channels, 32, 32))
    return detector


class Brightness(nn.Module):
    """Two classes: class 1 is what is brighter than mid-grey; the logits lead by 100 times the difference."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        lead = (images.mean(dim=(1, 2, 3)) - 0.5) * 50
        return torch.stack([-lead, lead], dim=1)


def random_images(number: int, size: int = 32, channels: int = 1, seed: int = 0, margin: int = 0) -> Tensor:
    """Return pictures of whole levels, ``(number, channels, size, size)``, ``margin`` levels off black and white."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(margin, 256 - margin, (number, channels, size, size), generator=generator) / 255


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def brightness(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return three logits that depend on how bright pictures are: a detector that is only a function."""
    mean = images.mean(axis=(1, 2, 3))
    return np.stack([mean, 0.9 - mean, 0.1 + 0 * mean], axis=1).astype(np.float32) * 20


class Sharpness(nn.Module):
    """A few numbers say how sharp a picture is, and a linear map what that means: learnt within a dozen steps.

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


def learn_then_unlearn(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """Return a schedule that goes uphill in the last third of the steps: of three epochs, the last is the worst."""
    return LambdaLR(optimizer, lambda step: 1.0 if step < 2 * total_steps / 3 else -20.0)


LEARNT = (  # a training that learns in two epochs and is ruined in the third, judged by an attack that draws nothing
    "detector=module",
    "detector.model.network._target_=toys.Sharpness",
    "defense.module.optimizer.lr=0.04",
    "defense.module.scheduler._target_=toys.learn_then_unlearn",
    "~defense.module.scheduler.max_lr",
    "averaging.decay=0.95",
    "+attack@selection.robust_validation.attack=fgsm",
    *(f"~selection.robust_validation.attack.{name}" for name in ("steps", "loss")),
    "selection.robust_validation.eps_levels=1",
    "defense.monitor=keep_epoch",
    "defense.guard={_target_: toys.RawWeights}",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "batch_size=3",
)


class RawWeights(pl.Callback):
    """Writes the detector's weights into the current folder after each epoch, as the steps have left them."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write them."""
        assert isinstance(module.detector, nn.Module)
        torch.save(module.detector.state_dict(), f"raw-{trainer.current_epoch + 1}.pt")


class Outage(OverfittingGuard):
    """Fails after the first epoch in the first of several processes alone, as where a server cannot be reached."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Fail."""
        if trainer.is_global_zero:
            raise ConnectionError("no server")


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it has said."""

    returncode: int
    stdout: str
    stderr: str


def command(arguments: Sequence[str], folder: Path) -> None:
    """Run ``advforensics`` in a folder, as its script does, and write what it says into files there."""
    os.chdir(folder)
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        stream.flush()
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    os.environ.pop(PARENT_RUN, None)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in (*sys.path, str(Path(__file__).parent)) if path)
    sys.argv = [str(Path(sysconfig.get_path("scripts")) / "advforensics"), *arguments]
    sys.modules["__main__"].__spec__ = None  # Lightning starts its processes by the script, not by this module
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a process that was forked leaves these out


class Call:
    """Runs ``advforensics`` with the arguments it is called with, in a process of its own.

    Args:
        folder: Where.
        processes: What starts it.
    """

    def __init__(self, folder: Path, processes: ForkServerContext) -> None:
        self.folder, self.processes = folder, processes

    def __call__(self, *arguments: str) -> Result:
        process = self.processes.Process(target=command, args=(arguments, self.folder))
        process.start()
        process.join()
        assert process.exitcode is not None
        stdout, stderr = (self.folder / name for name in ("stdout", "stderr"))
        return Result(process.exitcode, stdout.read_text(), stderr.read_text())

    def left(self) -> set[str]:
        """Return what the calls have left in the folder."""
        return {path.name for path in self.folder.iterdir()} - {"mlflow.db", "stdout", "stderr"}
