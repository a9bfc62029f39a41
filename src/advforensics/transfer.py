"""Pictures made on one detector, tried on another, for every pair: the entry point.

Whether attacks transfer decides how much it helps a defender to keep a detector secret. Barni, Kallas, Nowroozi &
Tondi 2019 (arXiv 1811.01629) report that attacks on image-forensic detectors seldom do. A forensic trace is fragile,
though, and any change of a picture may wipe it out; so beside the surrogates stands a control that attacks nothing,
random signs of the same size. What the control does not explain is transfer.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from advforensics.attacks.gateway import Attack
from advforensics.attacks.threat import LEVEL, Norm, project, to_8bit
from advforensics.checkpoint import Trained, load_checkpoint
from advforensics.data import PatchStore, Targets
from advforensics.figures.files import save
from advforensics.figures.transfer import transfer_matrix
from advforensics.robustness import alarms
from advforensics.robustness.journal import seed_of
from advforensics.robustness.judged import judged
from advforensics.robustness.transferability import CONTROL, matrix, transfer_stronger
from advforensics.sweep import select
from advforensics.tracking import store_digest
from advforensics.unfinished import unfinished_folder

log = logging.getLogger(__name__)

DOMAINS = ("float", "8bit")


class RandomSigns:
    """Changes every pixel value by ε, up or down by chance: what a detector loses to a change of that size alone.

    Args:
        norm: Norm of the ball; on the corners of the L∞ ball, which lie on the border of the L2 ball too.
    """

    name = CONTROL

    def __init__(self, norm: Norm) -> None:
        self.norm: Norm = norm

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return the pictures, ``(N, C, H, W)``; arguments as an attack's."""
        signs = 2.0 * torch.randint(2, images.shape).to(images) - 1
        return project(self.norm, eps, images, images + eps * signs)


def transfer(cfg: DictConfig) -> pd.DataFrame:
    """Try what ``conf/transfer.yaml`` describes: attack each detector, and judge the pictures by all of them.

    Writes ``transfer.parquet``, one row per surrogate, target, image, radius and domain, ``transfer.csv``, what
    :func:`~advforensics.robustness.transferability.matrix` returns, ``alarms.csv`` and a figure for each radius into
    ``cfg.folder``, and logs them as one MLflow run. The rows of each finished surrogate are kept until the end; a run
    that was killed goes on with the surrogate it was at.

    Args:
        cfg: The composed config.

    Returns:
        What ``transfer.csv`` holds.

    Raises:
        ValueError: If there are fewer than two detectors, two of one name, or one of another task or patch store.
        FileNotFoundError: If a checkpoint or the store is missing.
    """
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    detectors = _load(_paths(cfg.checkpoints))
    store = PatchStore(cfg.store)
    for trained in detectors.values():
        targets = select(store, trained, cfg.split, cfg.images)  # the same of each, or it raises
    task = next(iter(detectors.values())).facts()["task"]
    attack: Attack = instantiate(cfg.attack)
    attacks = dict.fromkeys(detectors, attack) | {CONTROL: RandomSigns(attack.norm)}
    with instantiate(cfg.tracking).run(f"transfer-{task}", cfg) as run:
        identity = {name: trained.sha256 for name, trained in detectors.items()}
        identity["store"] = store_digest(store.folder)
        unfinished = unfinished_folder(folder / "unfinished", config=cfg, **identity)
        clean = {
            name: _judged(trained.detector, targets.images, targets, cfg.batch_size)
            for name, trained in detectors.items()
        }
        parts = []
        for number, (surrogate, made_by) in enumerate(attacks.items()):
            path = unfinished / f"{number}.parquet"
            if not path.is_file():
                rows = _attacked(surrogate, made_by, detectors, targets, clean, cfg).assign(task=task)
                rows.to_parquet(path.with_suffix(".part"), index=False)
                path.with_suffix(".part").replace(path)
                log.info("%s: %d of %d surrogates", surrogate, number + 1, len(attacks))
            parts.append(pd.read_parquet(path))
        samples = pd.concat(parts, ignore_index=True)
        samples.to_parquet(folder / "transfer.parquet", index=False)
        table = matrix(samples)
        table.to_csv(folder / "transfer.csv", index=False)
        alarm = transfer_stronger(samples)
        alarms.write(folder / "alarms.csv", [alarm])
        run.tags(**alarms.tags([alarm]))
        crossed = table[(table["surrogate"] != table["target"]) & (table["surrogate"] != CONTROL)]
        for (metric, domain), points in crossed.groupby(["metric", "domain"]):
            run.curve(f"{metric}/{domain}", points.groupby("eps_levels")["estimate"].mean().to_dict())
        for file in ("transfer.parquet", "transfer.csv", "alarms.csv"):
            run.table(folder / file)
        robust = table[
            (table["metric"] == "robust_accuracy") & (table["domain"] == "float") & (table["eps_levels"] > 0)
        ]
        for eps_levels, pairs in robust.groupby("eps_levels"):
            run.figure(save(transfer_matrix(pairs), folder / "figures", f"transfer-{eps_levels:g}"))
    shutil.rmtree(unfinished)
    if alarm.fired:
        log.warning("ALARM %s: %s %s", alarm.name, alarm.evidence, alarm.advice)
    return table


def _paths(checkpoints: str | Sequence[str]) -> list[Path]:
    if not isinstance(checkpoints, str):
        return [Path(path) for path in checkpoints]
    return sorted(Path(checkpoints).rglob("checkpoint.pt"))


def _load(paths: Sequence[Path]) -> dict[str, Trained]:
    """Return detectors by name, ``DETECTOR-DEFENSE-SEED``."""
    detectors: dict[str, Trained] = {}
    for path in paths:
        trained = load_checkpoint(path)
        facts = trained.facts()
        name = f"{facts['detector']}-{facts['defense']}-{facts['seed']}"
        if name in detectors:
            raise ValueError(f"checkpoints: {path} is a second {name}; leave one out")
        detectors[name] = trained
    if len(detectors) < 2:
        raise ValueError(f"checkpoints: transfer takes two detectors or more, got {list(map(str, paths))}")
    if len(tasks := {trained.facts()["task"] for trained in detectors.values()}) > 1:
        raise ValueError(f"checkpoints: the detectors were trained for different tasks, {sorted(tasks)}")
    return detectors


def _attacked(
    surrogate: str,
    attack: Attack | RandomSigns,
    detectors: Mapping[str, Trained],
    targets: Targets,
    clean: Mapping[str, pd.DataFrame],
    cfg: DictConfig,
) -> pd.DataFrame:
    """Return the rows of one surrogate: target x radius x domain x image."""
    # The control asks no detector anything.
    source = detectors[surrogate].detector if surrogate != CONTROL else nn.Identity()
    parts = []
    for eps_levels in sorted({0.0, *map(float, cfg.eps_levels)}):
        eps = eps_levels * LEVEL
        batches = []
        for number, images in enumerate(targets.images.split(cfg.batch_size)):
            torch.manual_seed(seed_of(cfg.seed, f"{surrogate}-{attack.norm}-{eps_levels!r}-{attack.name}-{number}"))
            labels = targets.labels.split(cfg.batch_size)[number]
            batches.append(attack(source, images, labels, eps) if eps else images)
        made = torch.cat(batches)
        pictures = {"float": made, "8bit": to_8bit(attack.norm, eps, targets.images, made)}
        for domain, (target, trained) in product(DOMAINS, detectors.items()):
            untouched = torch.equal(pictures[domain], targets.images)
            rows = clean[target] if untouched else _judged(trained.detector, pictures[domain], targets, cfg.batch_size)
            parts.append(rows.assign(target=target, eps_levels=eps_levels, domain=domain))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(surrogate=surrogate, attack=attack.name, norm=attack.norm, knowledge="transfer")


def _judged(detector: nn.Module, pictures: Tensor, targets: Targets, batch_size: int) -> pd.DataFrame:
    with torch.no_grad():
        logits = torch.cat([detector(batch) for batch in pictures.split(batch_size)])
    return judged(targets, pictures, logits).drop(columns="rms_levels")
