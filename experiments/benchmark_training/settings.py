"""What is the same for all that are compared: the network, the batch, the optimiser, the strengths."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from advforensics.attacks.threat_model import LEVEL
from advforensics.cli.main import config_dir
from advforensics.detectors.checkpoint import build_detector
from advforensics.store.reading import Batch, PatchDataset, PatchStore

DETECTORS = {
    "narrow": ["detector=constrained", "detector.model.trunk.widths=[8,16,24,32]"],
    "constrained": ["detector=constrained"],
    "deep": ["detector=deep"],
}
PATCHES = (64, 128)
BATCH = 64
EPS = 0.75 * LEVEL  # of every attack; how strong a defence is does not change what it costs
ASCENT = {"steps": 7, "alpha": EPS / 4}  # conf/defense/pgd_training.yaml
LAMBDA = 0.04


@dataclass(frozen=True)
class Setting:
    """A size of the problem.

    Attributes:
        detector: Its size, one of `DETECTORS`.
        patch: Side of a patch in pixels.
        store: Folder of a store of such patches.
    """

    detector: str
    patch: int
    store: Path


class Trainee(Protocol):
    """A training that can be continued at any time."""

    @property
    def detector(self) -> nn.Module:
        """The network."""

    def turn(self, steps: int) -> list[float]:
        """Take ``steps + 1`` steps; return the seconds from the end of each to the end of the next."""


def config(setting: Setting, *overrides: str) -> DictConfig:
    """Return the config of a training as `advforensics train` composes it, at full strength from the first step on."""
    given = [
        *DETECTORS[setting.detector],
        f"store={setting.store}",
        f"batch_size={BATCH}",
        "folder=.",
        "trainer.accelerator=cpu",
        *overrides,
    ]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        composed: DictConfig = compose("train", given)
        return composed


def network(setting: Setting, *, memory_format: torch.memory_format) -> tuple[nn.Module, Optimizer]:
    """Return a fresh network in training mode, with the optimiser of ``conf/defense/baseline.yaml``.

    Args:
        setting: The size.
        memory_format: `torch.channels_last` is how `Detector` makes itself, `torch.contiguous_format` how networks are
            by default.
    """
    torch.manual_seed(0)
    cfg = config(setting)
    store = PatchStore(setting.store)
    detector: Any = build_detector(cfg, store.classes, store.shape).train()
    detector.to(memory_format=memory_format)
    return detector, instantiate(cfg.defense.module.optimizer)(detector.parameters())


def batch(setting: Setting) -> Batch:
    """Return one batch of the store, images ``(N, C, H, W)`` in [0, 1] and labels ``(N,)``, to be kept in memory."""
    dataset = PatchDataset(PatchStore(setting.store), "train")
    images: Tensor
    images, labels = dataset[dataset.balanced(BATCH)]
    return images, labels
