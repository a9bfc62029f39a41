"""How long until a detector is robust? FGSM fusion here, and as a loop by hand with torchattacks; one after the other.

python -m experiments.benchmark_training.reaching STORE

Both train the same network on the same batches with the same attack, schedule and averaging of weights, and are asked
after each epoch by the same attack on the same validation images; the clock runs through all of it. Writes
``reaching.csv`` here: a row per epoch.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
import torchattacks
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from advforensics.attacks.threat_model import LEVEL
from advforensics.cli.main import config_dir
from advforensics.detectors.checkpoint import build_detector
from advforensics.store.datamodule import PatchData
from advforensics.store.reading import PatchDataset
from advforensics.train import train
from advforensics.training.robust_validation import robust_areas

HERE = Path(__file__).parent
EPS_LEVELS = 0.75
FUSION = [
    "detector=deep",
    "defense=adversarial_fusion",
    f"defense.module.eps_levels={EPS_LEVELS}",
    "trainer.accelerator=cpu",
]


def by_hand(cfg: DictConfig) -> pd.DataFrame:
    """Train with a loop as torchattacks' README has it; return columns ``epoch, seconds, val_robust_accuracy``."""
    data = PatchData(cfg.store, cfg.batch_size, instantiate(cfg.augment), cfg.seed, replays=1, workers=0)
    torch.manual_seed(cfg.seed)
    detector: Any = build_detector(cfg, data.store.classes, data.store.shape)
    detector.to(memory_format=torch.contiguous_format)
    attack = torchattacks.FGSM(detector, eps=EPS_LEVELS * LEVEL)
    optimizer = instantiate(cfg.defense.module.optimizer)(detector.parameters())
    loader = data.train_dataloader()
    epochs = cfg.trainer.max_epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.defaults["lr"], epochs * len(loader))
    average = AveragedModel(detector, avg_fn=get_ema_avg_fn(cfg.averaging.decay), use_buffers=True)
    robust = cfg.selection.robust_validation
    patches = PatchDataset(data.store, "val")
    judges = patches[patches.balanced(robust.images)]
    rows = []
    start = time.perf_counter()
    for epoch in range(epochs):
        for step, (images, labels) in enumerate(loader, start=epoch * len(loader)):
            attack.eps = EPS_LEVELS * LEVEL * min(1, step / (cfg.defense.module.warmup * epochs * len(loader)))
            detector.train()
            examples = attack(images, labels)
            optimizer.zero_grad()
            loss = 0.5 * F.cross_entropy(detector(images), labels) + 0.5 * F.cross_entropy(detector(examples), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(detector)
        average.eval()
        areas = robust_areas(average.module, *judges, instantiate(robust.attack), robust.eps_levels * LEVEL)
        average.train()
        rows.append(
            {
                "epoch": epoch + 1,
                "seconds": time.perf_counter() - start,
                "val_robust_accuracy": float((areas == 1).float().mean()),
            }
        )
    return pd.DataFrame(rows)


def main(store: str) -> None:
    """Train both, write the table."""
    parts = []
    with tempfile.TemporaryDirectory() as work, initialize_config_dir(str(config_dir()), version_base="1.3"):
        places = [f"store={Path(store).resolve()}", f"folder={work}", f"tracking.uri=sqlite:///{work}/mlflow.db"]
        ours = ["trainer.precision=bf16-mixed", "defense.guard=null"]
        train(compose("train", [*FUSION, *places, *ours]))
        parts.append(pd.read_csv(Path(work) / "training.csv").assign(implementation="advforensics"))
        parts.append(by_hand(compose("train", [*FUSION, *places])).assign(implementation="torchattacks"))
    columns = ["implementation", "epoch", "seconds", "val_robust_accuracy"]
    pd.concat(parts)[columns].round(4).to_csv(HERE / "reaching.csv", index=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    main(sys.argv[1])
