"""Attack one trained detector over a range of radii: the entry point."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.attacks.tools import sample_rows
from advforensics.checkpoint import Trained
from advforensics.cost import Cost, counted
from advforensics.data import PatchDataset, PatchStore, Targets, side_by_side
from advforensics.detectors.pooled import Pooled
from advforensics.examples import draw
from advforensics.figures.cascade import cascade
from advforensics.figures.files import save
from advforensics.robustness import alarms
from advforensics.robustness.alarms import Alarm
from advforensics.robustness.curves import curves
from advforensics.robustness.engine import Engine
from advforensics.robustness.ensemble import cascades
from advforensics.robustness.felled import felled
from advforensics.robustness.journal import Journal
from advforensics.robustness.probes import forward_alarms, probe
from advforensics.robustness.samples import read_samples, write_samples
from advforensics.targets import folder as beside
from advforensics.targets import load
from advforensics.tracking import Run, store_digest
from advforensics.unfinished import IDENTITY, unfinished_folder

log = logging.getLogger(__name__)
ADVERSARIAL = "adversarial"  # where, in its folder, a sweep's domains write files


def sweep(cfg: DictConfig) -> dict[str, float]:
    """Run the sweep that ``conf/sweep.yaml`` describes, and add it to the detector's MLflow run.

    With several ``patches_per_picture`` what is attacked, and judged, is a picture's verdict: the mean of its patches'
    logits.

    Writes ``samples.parquet``, ``costs.csv``, ``alarms.csv``, ``curves.csv``, ``metrics.json``, ``data/`` and a gallery
    into ``cfg.folder``, by default ``sweep/`` (or ``pictures/``) beside the checkpoint. What each batch gave is kept
    there until the end; a sweep that was killed goes on with the batch it was at, and ends with the same table. In
    ``costs.csv`` is every image that went through the detector: those of the attacks by radius, and at radius 0 what
    judging the clean pictures (``clean``), plain ``tools`` and probing (``alarms``) took; ``gallery`` are the examples.

    Args:
        cfg: The composed config.

    Returns:
        Clean accuracy, robust accuracy by norm, domain and radius, and what the sweep cost.

    Raises:
        ValueError: If the store's patches or classes are not the detector's, no attack is given, or two bear the
            same name.
    """
    kind = "sweep" if cfg.patches_per_picture == 1 else "pictures"
    folder = Path(cfg.folder) if cfg.folder else beside(cfg.target) / kind
    folder.mkdir(parents=True, exist_ok=True)
    store = PatchStore(cfg.store)
    trained = load(cfg.target, store)
    targets = select(store, trained, cfg.split, cfg.images, cfg.patches_per_picture)
    if cfg.patches_per_picture > 1:
        trained = pooled(trained, cfg.patches_per_picture)
    batch_size = max(1, cfg.batch_size // cfg.patches_per_picture)
    cfg = cfg.copy()
    cfg.folder = str(folder)  # where domains write their files
    facts = trained.facts()
    name = f"{facts['task']}-{facts['detector']}-{facts['defense']}-{facts['seed']}"
    with instantiate(cfg.tracking).resume(trained.sha256, name, cfg) as run:
        identity = {"detector": trained.sha256, "store": store_digest(store.folder)}
        unfinished = unfinished_folder(folder / "unfinished", config=cfg, **identity)
        # It begins afresh: what lies there is of another sweep.
        if all(path.name == IDENTITY for path in unfinished.iterdir()):
            shutil.rmtree(folder / ADVERSARIAL, ignore_errors=True)
        engine = Engine(
            trained.detector,
            targets,
            eps_levels=cfg.eps_levels,
            batch_size=batch_size,
            seed=cfg.seed,
            journal=Journal(unfinished),
        )
        swept = list(cascades(engine, cfg.ensemble, trained.gradients))
        path = folder / "samples.parquet"
        rows, costs = [part.rows for part in swept], [part.costs for part in swept]
        torch.manual_seed(cfg.seed)  # what follows must not depend on where a sweep was killed
        if cfg.ensemble.get("tools"):
            tools = instantiate(cfg.ensemble.tools, batch_size=batch_size)
            with counted(trained.detector) as cost:
                rows.append(sample_rows(tools.run(trained.detector, targets), cfg.eps_levels))
            costs.append(_spent(cost, tools.name, tools.norm, "8bit", 0.0))
        write_samples(path, pd.concat(rows, ignore_index=True), facts, trained.classes, store.facts["null_first"])
        samples = read_samples(path)
        verdict = alarms.from_samples(samples)
        with counted(trained.detector) as cost:
            verdict += _probed(trained, targets, cfg, batch_size)
        costs.append(_spent(cost, "alarms", cfg.ensemble.norms[0], "float", 0.0))
        alarms.write(folder / "alarms.csv", verdict)
        run.tags(**alarms.tags(verdict))
        table = curves(samples)
        table.to_csv(folder / "curves.csv", index=False)
        _describe(store, folder / "data")
        if trained.gradients:
            attack = instantiate(cfg.gallery.attack)
            with counted(trained.detector) as cost:
                examples = draw(trained, targets, attack, cfg.gallery, batch_size)
            costs.append(_spent(cost, "gallery", attack.norm, "8bit", cfg.gallery.eps_levels))
            run.figure(save(examples, folder, "gallery"))
        spent = pd.concat(costs, ignore_index=True)
        spent = spent.groupby(["norm", "domain", "attack", "eps_levels"], as_index=False, sort=False).sum()
        spent.to_csv(folder / "costs.csv", index=False)
        metrics = _metrics(table, spent)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        _record(run, folder, samples, table, metrics)
    shutil.rmtree(unfinished)  # last of all: whoever is killed before goes on, and after there is nothing left to do
    for alarm in verdict:
        if alarm.fired:
            log.warning("ALARM %s: %s %s", alarm.name, alarm.evidence, alarm.advice)
    told = {key: value for key, value in metrics.items() if f"/{cfg.ensemble.norms[0]}/" in key}
    log.info("%s: %s", name, ", ".join(f"{key} {value:.4g}" for key, value in told.items()))
    return metrics


def select(store: PatchStore, trained: Trained, split: str, images: int | None, together: int = 1) -> Targets:
    """Return the patches to attack, a fair sample of classes and scenes however few; see `PatchDataset.stacks`.

    Args:
        store: The patch store.
        trained: The detector, whose classes and patch shape must be the store's.
        split: ``train``, ``val`` or ``test``.
        images: How many; ``None`` for all.
        together: Patches of a picture, side by side, that make an image ``(C, H, together * W)``.

    Raises:
        ValueError: If the detector was trained on other classes or another patch shape, or no picture has so many
            patches.
    """
    if (store.classes, store.shape) != (trained.classes, trained.shape):
        raise ValueError(
            f"the detector was trained on {trained.classes} at {trained.shape}, but {store.folder} holds"
            f" {store.classes} at {store.shape}; give the store it was trained on, or train on this one"
        )
    dataset = PatchDataset(store, split)
    chosen = dataset.stacks(images, together)
    pictures, labels = dataset[chosen.ravel()]
    first = dataset.manifest.iloc[chosen[:, 0]]
    return Targets(
        images=side_by_side(pictures, together),
        labels=labels[::together],
        sample_ids=first["patch_id"].tolist(),
        groups=first["group"].tolist(),
        patches=together,
    )


def pooled(trained: Trained, patches: int) -> Trained:
    """Return a detector as a judge of whole pictures: another one in tables and in MLflow."""
    return replace(
        trained,
        detector=Pooled(trained.detector, patches),
        shape=(*trained.shape[:2], patches * trained.shape[2]),
        name=f"{trained.name}, {patches} patches a picture",
        sha256=f"{trained.sha256} x {patches}",
    )


def _probed(trained: Trained, targets: Targets, cfg: DictConfig, batch_size: int) -> list[Alarm]:
    """Return what the detector itself tells; of a black box, what its answers tell."""
    if not trained.gradients:
        return forward_alarms(trained.detector, targets.images, len(trained.classes), batch_size)
    norm, seed = cfg.ensemble.norms[0], cfg.seed
    return probe(trained.detector, targets.images, targets.labels, norm=norm, seed=seed, batch_size=batch_size)


def _spent(cost: Cost, attack: str, norm: str, domain: str, eps_levels: float) -> pd.DataFrame:
    """Return a row of costs for what is no part of a cascade."""
    point = {"norm": norm, "domain": domain, "attack": attack, "eps_levels": float(eps_levels)}
    return pd.DataFrame([{**point, "attacked": 0, **vars(cost)}])


def _describe(store: PatchStore, folder: Path) -> None:
    """Put what is known of the data beside what was measured on it: a report need not have the store."""
    folder.mkdir(exist_ok=True)
    for path in (store.folder / "audit.json", *(store.folder / "figures").glob("*.svg")):
        if path.is_file():  # stores of old have neither
            shutil.copyfile(path, folder / path.name)


def _metrics(table: pd.DataFrame, costs: pd.DataFrame) -> dict[str, float]:
    """Return the headline numbers under names that sort: ``robust_accuracy/linf/float/0.5``."""
    robust = table[(table["attack"] == "worst") & (table["metric"] == "accuracy")]
    points = {
        f"robust_accuracy/{row['norm']}/{row['domain']}/{row['eps_levels']:g}": float(row["estimate"])
        for row in robust.to_dict("records")
    }
    counts = {f"sweep_{way}_images": float(costs[way].sum()) for way in ("forward", "backward")}
    return {**points, "sweep_seconds": float(costs["seconds"].sum()), **counts}


def _record(run: Run, folder: Path, samples: pd.DataFrame, table: pd.DataFrame, metrics: dict[str, float]) -> None:
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
    fallen = felled(samples)
    for norm, domain in fallen[["norm", "domain"]].drop_duplicates().itertuples(index=False):
        figure = cascade(fallen, table["defense"].iloc[0], norm, domain)
        run.figure(save(figure, folder, f"attacks-{norm}-{domain}"))
    for file in ("samples.parquet", "curves.csv", "costs.csv", "alarms.csv"):
        run.table(folder / file)
