"""The command `sweep`: attack one trained detector over a range of radii."""

import json
import logging
import shutil
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import DictConfig

from advforensics.alarms import alarm
from advforensics.alarms.alarm import Alarm
from advforensics.alarms.probes import forward_alarms, probe
from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.cost import counted
from advforensics.detectors.device import open_fabric
from advforensics.evaluation.examples import make_examples
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.parts import Parts, cost_row, total_cost
from advforensics.evaluation.run_parts import open_parts, run_parts
from advforensics.persistence.provenance import sha256
from advforensics.persistence.unfinished import IDENTITY, unfinished_folder, without
from advforensics.reporting.figures.attack_shares import draw_attack_shares
from advforensics.reporting.figures.files import save
from advforensics.reporting.figures.gallery import draw_gallery
from advforensics.reporting.findings import reported_curve, robustness_sentences
from advforensics.reporting.selection import Curve
from advforensics.statistics.attack_shares import attack_shares
from advforensics.statistics.curves import curves
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.sample_table import merge_samples, read_samples
from advforensics.store.reading import PatchStore
from advforensics.targets.loading import load, results_folder
from advforensics.tracking.curves import headline, log_curves
from advforensics.tracking.names import ensemble, job_overrides

log = logging.getLogger(__name__)
ADVERSARIAL = "adversarial"  # subfolder of a sweep, where domains write files
WHERE = ("accelerator", "devices", "parts")  # keys of the config that no result depends on
TABLES = ("samples.parquet", "curves.csv", "costs.csv", "alarms.csv")


def sweep(cfg: DictConfig) -> dict[str, float]:
    """Run the sweep that ``conf/sweep.yaml`` describes, and record it as a child of the detector's MLflow run.

    If ``patches_per_picture`` is more than 1, whole pictures are attacked, by the mean of their patches' logits.

    Writes ``samples.parquet``, ``costs.csv``, ``alarms.csv``, ``curves.csv``, ``metrics.json``, ``data/`` and a gallery
    into ``cfg.folder``, by default ``sweep/`` (or ``pictures/``) beside the checkpoint. Images are attacked in parts,
    one at a time on each device. The outcome of each batch, and each complete part, is kept there until the end: a
    sweep that was killed goes on with the batch it was at, and ends with the same table. With ``cfg.parts`` only these
    parts are attacked, so that several jobs can share a sweep, and no tables are written.
    ``costs.csv`` counts every image that went through the detector: for attacks by radius, and at radius 0 for clean
    pictures (``clean``), ``postprocessing``, probes (``alarms``) and the fit of a ``surrogate``.

    Attacks on a detector without gradients climb those of a surrogate fitted to its answers.

    Returns:
        Clean accuracy, robust accuracy by norm, domain and radius, and what the sweep cost; nothing with ``cfg.parts``.

    Raises:
        ValueError: If the store's patches or classes are not the detector's, no attack is given, two attacks have the
            same name, or there is no such part.
    """
    kind = "sweep" if cfg.patches_per_picture == 1 else "pictures"
    folder = Path(cfg.folder) if cfg.folder else results_folder(cfg.target) / kind
    folder.mkdir(parents=True, exist_ok=True)
    cfg = cfg.copy()
    cfg.folder = str(folder)
    store, fabric = PatchStore(cfg.store), open_fabric(cfg.accelerator, cfg.devices)
    trained = load(cfg.target, store)
    what = without(cfg, *WHERE)
    unfinished = unfinished_folder(folder / "unfinished", config=what, detector=trained.sha256, store=store.digest())
    if cfg.parts is not None:
        parts, _ = open_parts(cfg, unfinished, store, trained, fabric)
        run_parts(cfg, parts, fabric, cfg.parts)
        log.info("%d of %d parts are missing; to write the tables, leave `parts` out", len(parts.missing()), len(parts))
        return {}
    tracking, name = instantiate(cfg.tracking), f"{trained.defense}-{trained.seed}"
    of_detector = tracking.detector(trained.sha256, name)
    with tracking.resume(
        sha256(unfinished / IDENTITY), " ".join([name, kind, *job_overrides()]), cfg, of_detector
    ) as run:
        parts, costs = open_parts(cfg, unfinished, store, trained, fabric)
        trained = parts.trained
        pictures = f"{len(parts.selection)} of the split `{cfg.split}` of `{cfg.store}`"
        run.describe(f"Attacks on {name} ({trained.name}) by the ensemble `{ensemble()}`; pictures: {pictures}.")
        run_parts(cfg, parts, fabric, parts.missing())
        merge_samples(folder / "samples.parquet", parts.samples())
        _publish_files(parts, folder)
        costs.append(parts.costs())
        images = parts.images(0)  # some hundreds, spread evenly over scenes and classes as all of them are
        batch_size, gradients, null = (
            parts.batch_size,
            parts.gradients,
            trained.classes[0] if parts.null_first else None,
        )
        del parts  # it knows every patch of the split, and so does the table now
        samples = read_samples(folder / "samples.parquet")
        with counted(trained.detector) as cost:
            verdict = [*sample_table_alarms(samples), *_probed(trained, images, cfg, batch_size)]
        costs.append(cost_row(cost, "alarms", cfg.ensemble.norms[0], "float", 0.0))
        alarm.write(folder / "alarms.csv", verdict)
        table = curves(samples)
        table.to_csv(folder / "curves.csv", index=False)
        if gradients != "none":
            with counted(trained.detector) as cost:
                figure = _gallery(trained, images, cfg, batch_size)
            costs.append(cost_row(cost, "gallery", cfg.gallery.attack.norm, "8bit", cfg.gallery.eps_levels))
            run.figure(save(figure, folder, "gallery"))
        spent = total_cost(costs)
        spent.to_csv(folder / "costs.csv", index=False)
        metrics = _metrics(table, spent)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        _describe_data(store, folder / "data")
        run.metrics({key: value for key, value in metrics.items() if key.startswith("sweep_")})
        log_curves(run, table)
        finding = _finding(table, verdict, null)
        run.conclude(finding, alarm.fired(verdict))
        of_detector.latest(headline(table, _attacked(cfg)))
        of_detector.conclude(f"Swept ({_attacked(cfg)}): {finding}", alarm.fired(verdict))
        shares = attack_shares(samples)
        for norm, domain in shares[["norm", "domain"]].drop_duplicates().itertuples(index=False):
            figure = draw_attack_shares(shares, trained.defense, Curve(norm, domain))
            run.figure(save(figure, folder, f"attacks-{norm}-{domain}"))
        for file in TABLES:
            run.table(folder / file)
    shutil.rmtree(unfinished)  # last of all: a sweep that is killed before this line goes on
    alarm.warn(verdict)
    log.info("%s", finding)
    return metrics


def _publish_files(parts: Parts, folder: Path) -> None:
    """Put the adversarial files into the folder of the results, in place of those of an earlier sweep."""
    made, final = parts.folder / ADVERSARIAL, folder / ADVERSARIAL
    if made.is_dir() or not any("folder" in domain for domain in parts.ensemble.domains.values()):
        shutil.rmtree(final, ignore_errors=True)
    if made.is_dir():
        made.replace(final)


def _probed(trained: TrainedDetector, images: EvaluationSet, cfg: DictConfig, batch_size: int) -> list[Alarm]:
    """Return the alarms of the detector itself; without gradients, those of forward passes alone."""
    if not trained.gradients:
        return forward_alarms(trained.detector, images.images, len(trained.classes), batch_size)
    norm, seed = cfg.ensemble.norms[0], cfg.seed
    return probe(trained.detector, images.images, images.labels, norm=norm, seed=seed, batch_size=batch_size)


def _gallery(trained: TrainedDetector, images: EvaluationSet, cfg: DictConfig, batch_size: int) -> Figure:
    """Draw a few pictures before and after an attack."""
    attack, number, eps_levels = instantiate(cfg.gallery.attack), cfg.gallery.pictures, cfg.gallery.eps_levels
    examples = make_examples(trained, images, attack, number, eps_levels, batch_size)
    arrays = {name: tensor.numpy() for name, tensor in examples.items()}
    return draw_gallery(**arrays, class_names=trained.classes, eps_levels=eps_levels)


def _attacked(cfg: DictConfig) -> str:
    """Name what the headline of a sweep depends on: headlines with different names are not to be compared."""
    kinds = {"pictures": cfg.patches_per_picture > 1, cfg.split: cfg.split != "test"}
    return " ".join([ensemble(), *(kind for kind, other in kinds.items() if other)])


def _finding(table: pd.DataFrame, verdict: list[Alarm], null: str | None) -> str:
    """Return the finding of a sweep, at the largest radius up to 1 level."""
    radii, names = table["eps_levels"], [warning.name for warning in verdict if warning.fired]
    eps_levels = float(radii[radii <= max(1, radii.min())].max())
    sentences = robustness_sentences(table, reported_curve(table), eps_levels, null, {table["defense"].iloc[0]: names})
    return f"{' '.join(sentences)} Alarms: {alarm.fired(verdict)}."


def _describe_data(store: PatchStore, folder: Path) -> None:
    """Copy the leak audit and the figures of the store beside the results: a report may run without the store."""
    folder.mkdir(exist_ok=True)
    for name in ("audit.json", *store.files.names("figures/*.svg")):
        (folder / Path(name).name).write_bytes(store.files.read(name))


def _metrics(table: pd.DataFrame, costs: pd.DataFrame) -> dict[str, float]:
    """Return the main numbers under names such as ``robust_accuracy/linf/float/0.5``."""
    robust = table[(table["attack"] == WORST) & (table["metric"] == "accuracy")]
    points = {
        f"robust_accuracy/{row['norm']}/{row['domain']}/{row['eps_levels']:g}": float(row["estimate"])
        for row in robust.to_dict("records")
    }
    counts = {f"sweep_{way}_images": float(costs[way].sum()) for way in ("forward", "backward")}
    return {**points, "sweep_seconds": float(costs["seconds"].sum()), **counts}
