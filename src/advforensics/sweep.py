"""Attack one trained detector over a range of radii: the entry point."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pandas as pd
import torch
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from advforensics.attacks.gateway import Attack
from advforensics.attacks.threat import LEVEL, to_8bit
from advforensics.checkpoint import Trained, load_checkpoint
from advforensics.cost import Cost, counted
from advforensics.data import PatchDataset, PatchStore
from advforensics.figures import attack_curves, gallery, save
from advforensics.robustness.curves import curves
from advforensics.robustness.engine import Engine, Targets
from advforensics.robustness.samples import read_samples, write_samples
from advforensics.tracking import Run

log = logging.getLogger(__name__)


def sweep(cfg: DictConfig) -> dict[str, float]:
    """Run the sweep that ``conf/sweep.yaml`` describes, and add it to the detector's MLflow run.

    Writes ``samples.parquet``, ``curves.csv``, ``metrics.json`` and a gallery into ``cfg.folder``, by
    default ``sweep/`` beside the checkpoint. The rows of each finished
    attack are kept there until the end; a sweep that was killed goes on with the attack it was at.

    Args:
        cfg: The composed config.

    Returns:
        Clean accuracy, robust accuracy by norm, domain and radius, and the cost of the attacks.

    Raises:
        ValueError: If the store's patches or classes are not the detector's, no attack is given, or two bear the
            same name.
    """
    folder = Path(cfg.folder) if cfg.folder else Path(cfg.checkpoint).parent / "sweep"
    folder.mkdir(parents=True, exist_ok=True)
    trained = load_checkpoint(cfg.checkpoint)
    targets = select(PatchStore(cfg.store), trained, cfg.split, cfg.images)
    attacks: list[Attack] = [instantiate(attack) for attack in cfg.get("attacks", {}).values()]
    if not attacks:
        raise ValueError("attacks: a sweep needs at least one; name one of conf/attack, e.g. +attack@attacks.pgd=pgd")
    if len({attack.name for attack in attacks}) < len(attacks):
        raise ValueError(f"attacks: two bear the same name among {[attack.name for attack in attacks]}; rename one")
    facts = trained.facts()
    name = f"{facts['task']}-{facts['detector']}-{facts['defense']}-{facts['seed']}"
    with instantiate(cfg.tracking).resume(trained.sha256, name, cfg) as run:
        engine = Engine(trained.detector, targets, eps_levels=cfg.eps_levels, batch_size=cfg.batch_size, seed=cfg.seed)
        unfinished = _unfinished(folder, cfg, trained)
        with counted(trained.detector) as cost:
            rows = [_attacked(engine, attack, unfinished / f"{attack.name}.parquet") for attack in attacks]
        path = folder / "samples.parquet"
        write_samples(path, pd.concat(rows, ignore_index=True), facts, trained.classes)
        table = curves(read_samples(path))
        table.to_csv(folder / "curves.csv", index=False)
        metrics = _metrics(table, cost)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        examples = _draw_gallery(trained, targets, instantiate(cfg.gallery.attack), cfg, folder)
        run.figure(examples, "gallery")
        _record(run, folder, table, metrics, len(trained.classes))
        shutil.rmtree(unfinished)
    log.info("%s: %s", name, ", ".join(f"{key} {value:.4g}" for key, value in metrics.items() if "linf" in key))
    return metrics


def select(store: PatchStore, trained: Trained, split: str, images: int | None) -> Targets:
    """Return the patches to attack: the first of every photograph and class, then the second, and so on.

    Args:
        store: The patch store.
        trained: The detector, whose classes and patch shape must be the store's.
        split: ``train``, ``val`` or ``test``.
        images: How many; ``None`` for all.

    Raises:
        ValueError: If the detector was trained on other classes or another patch shape.
    """
    if (store.classes, store.shape) != (trained.classes, trained.shape):
        raise ValueError(
            f"the detector was trained on {trained.classes} at {trained.shape}, but {store.folder} holds"
            f" {store.classes} at {store.shape}; give the store it was trained on, or train on this one"
        )
    dataset = PatchDataset(store, split)
    manifest = dataset.manifest
    rank = manifest.groupby(["group", "label"]).cumcount()
    chosen = rank.sort_values(kind="stable").index[:images].tolist()
    pictures, labels = dataset.__getitems__(chosen)
    return Targets(
        images=pictures,
        labels=labels,
        sample_ids=manifest["patch_id"].iloc[chosen].tolist(),
        groups=manifest["group"].iloc[chosen].tolist(),
    )


def _attacked(engine: Engine, attack: Attack, path: Path) -> pd.DataFrame:
    """Return the rows of an attack, from the file of an earlier, interrupted sweep if there is one."""
    if not path.is_file():
        rows = engine.run(attack)
        rows.to_parquet(path.with_suffix(".part"), index=False)
        path.with_suffix(".part").replace(path)
    return pd.read_parquet(path)


def _unfinished(folder: Path, cfg: DictConfig, trained: Trained) -> Path:
    """Return the folder for rows of finished attacks; another config or checkpoint gets another folder."""
    identity = OmegaConf.to_yaml(cfg, resolve=True) + trained.sha256
    unfinished = folder / f"unfinished-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    for other in folder.glob("unfinished-*"):
        if other != unfinished:
            shutil.rmtree(other)
    unfinished.mkdir(exist_ok=True)
    return unfinished


def _metrics(table: pd.DataFrame, cost: Cost) -> dict[str, float]:
    """Return the headline numbers under names that sort: ``robust_accuracy/linf/float/0.5``."""
    robust = table[(table["attack"] == "worst") & (table["metric"] == "accuracy")]
    points = {
        f"robust_accuracy/{row['norm']}/{row['domain']}/{row['eps_levels']:g}": float(row["estimate"])
        for row in robust.to_dict("records")
    }
    counts = {"sweep_forward_images": float(cost.forward), "sweep_backward_images": float(cost.backward)}
    return {**points, "sweep_seconds": cost.seconds, **counts}


def _draw_gallery(trained: Trained, targets: Targets, attack: Attack, cfg: DictConfig, folder: Path) -> Figure:
    """Draw pictures of different classes before and after an attack, as whole levels: what could be saved as a file."""
    detector = trained.detector
    with torch.no_grad():
        right = detector(targets.images).argmax(dim=1) == targets.labels
    shown: dict[str, int] = {}  # one of each class, each from a photograph of its own
    for label in range(len(trained.classes)):
        candidates = (right & (targets.labels == label)).nonzero().flatten().tolist()
        fresh = [index for index in candidates if targets.groups[index] not in shown]
        if fresh and len(shown) < cfg.gallery.pictures:
            shown[targets.groups[fresh[0]]] = fresh[0]
    # A detector that is never right still has a gallery: of its errors.
    chosen = list(shown.values()) or list(range(min(cfg.gallery.pictures, len(targets.labels))))
    images, labels = targets.images[chosen], targets.labels[chosen]
    eps = cfg.gallery.eps_levels * LEVEL
    adversarial = to_8bit(attack.norm, eps, images, attack(detector, images, labels, eps))
    with torch.no_grad():
        residual, residual_adversarial = detector.residual(images), detector.residual(adversarial)
        answer, answer_adversarial = detector(images).argmax(dim=1), detector(adversarial).argmax(dim=1)
    figure = gallery(
        images.numpy(),
        adversarial.numpy(),
        residual.numpy(),
        residual_adversarial.numpy(),
        labels.tolist(),
        answer.tolist(),
        answer_adversarial.tolist(),
        trained.classes,
        cfg.gallery.eps_levels,
    )
    save(figure, folder, "gallery")
    return figure


def _record(run: Run, folder: Path, table: pd.DataFrame, metrics: dict[str, float], classes: int) -> None:
    """Log curves with ε as the step axis, figures and tables to the detector's run."""
    run.metrics({name: value for name, value in metrics.items() if name.startswith("sweep_")})
    shown = table[table["metric"].isin(["accuracy", "balanced_accuracy"])]
    for (norm, domain, attack, metric), points in shown.groupby(["norm", "domain", "attack", "metric"]):
        if attack == "worst":
            run.curve(
                f"robust_{metric}/{norm}/{domain}", dict(zip(points["eps_levels"], points["estimate"], strict=True))
            )
        elif metric == "accuracy":
            run.curve(f"attack/{attack}/{domain}", dict(zip(points["eps_levels"], points["estimate"], strict=True)))
    defense = table["defense"].iloc[0]
    for norm, domain in table[["norm", "domain"]].drop_duplicates().itertuples(index=False):
        figure = attack_curves(table, defense, norm, domain, classes)
        save(figure, folder, f"attacks-{norm}-{domain}")
        run.figure(figure, f"attacks-{norm}-{domain}")
    for file in ("samples.parquet", "curves.csv"):
        run.table(folder / file)
