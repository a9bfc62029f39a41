"""The command `transfer`: pictures made on one detector, tried on another, for every pair."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.alarms import alarm as alarms
from advforensics.alarms.transfer import transfer_stronger
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.random_signs import RandomSigns
from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.detectors.device import open_fabric
from advforensics.evaluation.batches import choose_batch_size
from advforensics.evaluation.images import select_images
from advforensics.evaluation.transfer import attack_surrogate, predictions
from advforensics.persistence.atomic import atomic
from advforensics.persistence.journal import Journal
from advforensics.persistence.provenance import sha256
from advforensics.persistence.unfinished import IDENTITY, unfinished_folder, without
from advforensics.reporting.figures.files import save
from advforensics.reporting.figures.transfer import draw_transfer_matrix
from advforensics.statistics.transfer import CONTROL, transfer_scores
from advforensics.store.reading import PatchStore
from advforensics.tracking.names import job_overrides

WHERE = ("accelerator", "devices")  # keys of the config that no result depends on
log = logging.getLogger(__name__)


def transfer(cfg: DictConfig) -> pd.DataFrame:
    """Attack each detector, and try the pictures on all of them, as ``conf/transfer.yaml`` describes.

    Writes ``transfer.parquet``, one row per surrogate, target, image, radius and domain, ``transfer.csv``, what
    :func:`~advforensics.statistics.transfer.transfer_scores` returns, ``alarms.csv`` and a figure for each radius into
    ``cfg.folder``, and logs them as one MLflow run. The rows of each finished surrogate are kept until the end: a run
    that was killed goes on with the surrogate it was at.

    Returns:
        What ``transfer.csv`` holds.

    Raises:
        ValueError: If there are fewer than two detectors, two of one name, or of different tasks or patch stores.
        FileNotFoundError: If a checkpoint or the store is missing.
    """
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    detectors = _load(cfg.checkpoints)
    store = PatchStore(cfg.store)
    fabric = open_fabric(cfg.accelerator, cfg.devices)
    for trained in detectors.values():
        fabric.to_device(trained.detector)
        selection = select_images(store, trained, cfg.split, cfg.images)  # the same for each, or an error
    task = next(iter(detectors.values())).provenance()["task"]
    attack: TorchAttack = instantiate(cfg.attack)
    attacks = dict.fromkeys(detectors, attack) | {CONTROL: RandomSigns(attack.norm)}
    identity = {name: trained.sha256 for name, trained in detectors.items()}
    unfinished = unfinished_folder(folder / "unfinished", config=without(cfg, *WHERE), store=store.digest(), **identity)
    name = " ".join([f"transfer-{task}", *job_overrides()])
    with instantiate(cfg.tracking).resume(sha256(unfinished / IDENTITY), name, cfg) as run:
        run.describe(
            f"Pictures made on each of {len(detectors)} detectors ({', '.join(detectors)}), tried on the others;"
            f" {len(selection)} pictures of the split `{cfg.split}` of `{cfg.store}`."
        )
        networks = [trained.detector for trained in detectors.values()]
        batch_size = choose_batch_size(cfg.batch_size, networks, store.shape, cfg.part_size, Journal(unfinished))
        paths = []
        for part in range(-(-len(selection) // cfg.part_size)):
            images = selection[part * cfg.part_size : (part + 1) * cfg.part_size]
            clean = {
                name: predictions(trained.detector, images.images, images, batch_size)
                for name, trained in detectors.items()
            }
            options = cfg.eps_levels, batch_size, cfg.seed + part
            for number, (surrogate, surrogate_attack) in enumerate(attacks.items()):
                paths.append(unfinished / f"{part:05}-{number}.parquet")
                if not paths[-1].is_file():
                    rows = attack_surrogate(surrogate, surrogate_attack, detectors, images, clean, *options)
                    with atomic(paths[-1]) as temporary:
                        rows.assign(task=task).to_parquet(temporary, index=False)
                    log.info("part %d, %s: %d of %d surrogates", part + 1, surrogate, number + 1, len(attacks))
        samples = pd.concat(map(pd.read_parquet, paths), ignore_index=True)
        samples.to_parquet(folder / "transfer.parquet", index=False)
        table = transfer_scores(samples)
        table.to_csv(folder / "transfer.csv", index=False)
        alarm = transfer_stronger(samples)
        alarms.write(folder / "alarms.csv", [alarm])
        crossed = table[(table["surrogate"] != table["target"]) & (table["surrogate"] != CONTROL)]
        for (metric, domain), points in crossed.groupby(["metric", "domain"]):
            run.curve(f"{metric}/{attack.norm}/{domain}", points.groupby("eps_levels")["estimate"].mean().to_dict())
        for file in ("transfer.parquet", "transfer.csv", "alarms.csv"):
            run.table(folder / file)
        run.conclude(_finding(crossed), alarms.fired([alarm]))
        robust = table.query("metric == 'robust_accuracy' and domain == 'float' and eps_levels > 0")
        for eps_levels, pairs in robust.groupby("eps_levels"):
            run.figure(save(draw_transfer_matrix(pairs), folder / "figures", f"transfer-{eps_levels:g}"))
    shutil.rmtree(unfinished)
    alarms.warn([alarm])
    return table


def _finding(crossed: pd.DataFrame) -> str:
    """Return how detectors do on pictures made on others, at the largest radius up to 1 level."""
    radii = crossed.loc[crossed["eps_levels"] > 0, "eps_levels"]
    eps_levels = radii[radii <= max(1, radii.min())].max()
    rows = crossed[(crossed["domain"] == "float") & (crossed["eps_levels"] == eps_levels)]
    right = rows.loc[rows["metric"] == "robust_accuracy", "estimate"]
    return (
        f"At {eps_levels:g} levels, pictures as floats, a detector is right on {right.min():.1%} to {right.max():.1%}"
        f" of what was made on another ({len(right)} pairs); `transfer.csv` has the intervals."
    )


def _load(checkpoints: str | Sequence[str]) -> dict[str, TrainedDetector]:
    """Return the detectors of a folder, or of a list of files, by name: ``DETECTOR-DEFENSE-SEED``."""
    if isinstance(checkpoints, str):
        checkpoints = [str(path) for path in sorted(Path(checkpoints).rglob("checkpoint.pt"))]
    detectors: dict[str, TrainedDetector] = {}
    for path in checkpoints:
        trained = load_checkpoint(path)
        facts = trained.provenance()
        name = f"{facts['detector']}-{facts['defense']}-{facts['seed']}"
        if name in detectors:
            raise ValueError(f"checkpoints: {path} is a second detector named {name}; leave one out")
        detectors[name] = trained
    if len(detectors) < 2:
        raise ValueError(f"checkpoints: give two detectors or more, got {list(checkpoints)}")
    if len(tasks := {trained.provenance()["task"] for trained in detectors.values()}) > 1:
        raise ValueError(f"checkpoints: give detectors of one task, got {sorted(tasks)}")
    return detectors
