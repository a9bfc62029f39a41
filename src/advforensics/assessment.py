"""What `sweep` and `audit` share: attack a detector on images in parts, look for alarms, write tables and record it."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from lightning_fabric import Fabric
from matplotlib.figure import Figure
from omegaconf import DictConfig

from advforensics.alarms import alarm
from advforensics.alarms.alarm import Alarm
from advforensics.alarms.probes import forward_alarms, probe
from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.cost import counted
from advforensics.evaluation.examples import make_examples
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.parts import Parts, cost_row, total_cost
from advforensics.evaluation.run_parts import Opener, run_parts
from advforensics.persistence.provenance import sha256, write_command
from advforensics.persistence.unfinished import IDENTITY
from advforensics.reporting.figures.attack_shares import draw_attack_shares
from advforensics.reporting.figures.files import save
from advforensics.reporting.figures.gallery import draw_gallery
from advforensics.reporting.findings import reported_curve, reported_radius, robustness_sentences
from advforensics.reporting.selection import Curve
from advforensics.statistics.attack_shares import attack_shares
from advforensics.statistics.curves import curves
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.sample_table import merge_samples, read_samples
from advforensics.targets.foreign import Foreign
from advforensics.tracking.curves import headline, log_curves
from advforensics.tracking.names import ensemble, job_overrides

log = logging.getLogger(__name__)
ADVERSARIAL = "adversarial"  # subfolder of the results, where domains write files
WHERE = ("accelerator", "devices", "parts")  # keys of the config that no result depends on
TABLES = ("samples.parquet", "curves.csv", "costs.csv", "alarms.csv", "recompressed.csv")


@dataclass(frozen=True)
class Assessment:
    """One detector on one set of images.

    Attributes:
        kind: What the run is called.
        trained: The detector.
        folder: Of the results.
        unfinished: Of unfinished work.
        fabric: The devices.
        open: Returns the parts, and what it cost to make them ready.
        opener: Opens them again in another process.
        pictures: What the images are, in words.
        among: What a headline depends on besides the ensemble: headlines with other words are not to be compared.
        probed: How many images the alarms of the detector itself take.
        further: Alarms that were found before.
    """

    kind: str
    trained: TrainedDetector
    folder: Path
    unfinished: Path
    fabric: Fabric
    open: Callable[[], tuple[Parts, list[pd.DataFrame]]]
    opener: Opener
    pictures: str
    among: Sequence[str] = ()
    probed: int | None = None
    further: Sequence[Alarm] = ()

    def run(self, cfg: DictConfig) -> dict[str, float]:
        """Attack, write ``samples.parquet``, the other `TABLES`, ``metrics.json`` and a gallery, and record all.

        The caller removes ``unfinished``, last of all: what is killed before that goes on.

        Returns:
            Clean accuracy, robust accuracy by norm, domain and radius, and what it cost.
        """
        folder, trained, unfinished = self.folder, self.trained, self.unfinished
        tracking, name = instantiate(cfg.tracking), f"{trained.defense}-{trained.seed}"
        of_detector = tracking.detector(trained.sha256, name)
        work, title = sha256(unfinished / IDENTITY), " ".join([name, self.kind, *job_overrides()])
        with tracking.resume(work, title, cfg, of_detector) as run:
            parts, costs = self.open()
            trained = parts.trained
            pictures = f"{parts.images.number} {self.pictures}"
            run.describe(f"Attacks on {name} ({trained.name}) by the ensemble `{ensemble()}`; pictures: {pictures}.")
            run_parts(cfg, parts, self.fabric, parts.missing(), self.opener)
            write_command(folder)
            merge_samples(folder / "samples.parquet", parts.samples())
            _publish_files(parts, folder)
            costs.append(parts.costs())
            parts.recompressed().to_csv(folder / "recompressed.csv", index=False)
            images = parts.images.sample()
            batch_size, gradients = parts.batch_size(images), parts.gradients
            null = trained.classes[0] if parts.null_first else None
            del parts  # it knows every patch of the split, and so does the table now
            samples = read_samples(folder / "samples.parquet")
            detector = trained.detector
            # Where a library rounds to whole levels, its own preprocessing has no gradient to contradict.
            detector = detector.differentiable() if isinstance(detector, Foreign) else detector
            with counted(detector) as cost:
                probed = _probed(replace(trained, detector=detector), images, cfg, batch_size, self.probed)
            verdict = [*self.further, *sample_table_alarms(samples), *probed]
            costs.append(cost_row(cost, "alarms", cfg.ensemble.norms[0], "float", 0.0))
            alarm.write(folder / "alarms.csv", verdict)
            table = curves(samples)
            table.to_csv(folder / "curves.csv", index=False)
            if gradients != "none":
                with counted(trained.detector) as cost:
                    gallery, glance = _gallery(trained, images, cfg, batch_size)
                costs.append(cost_row(cost, "gallery", cfg.gallery.attack.norm, "8bit", cfg.gallery.eps_levels))
                run.figure(save(gallery, folder, "gallery"))
                save(glance, folder, "glance")
            spent = total_cost(costs)
            spent.to_csv(folder / "costs.csv", index=False)
            metrics = _metrics(table, spent)
            (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
            run.metrics({key: value for key, value in metrics.items() if key.startswith("sweep_")})
            log_curves(run, table)
            finding, attacked = _finding(table, verdict, null), " ".join([ensemble(), *self.among])
            run.conclude(finding, alarm.fired(verdict))
            of_detector.latest(headline(table, attacked))
            of_detector.conclude(f"Swept ({attacked}): {finding}", alarm.fired(verdict))
            shares = attack_shares(samples)
            for norm, domain in shares[["norm", "domain"]].drop_duplicates().itertuples(index=False):
                figure = draw_attack_shares(shares, trained.defense, Curve(norm, domain))
                run.figure(save(figure, folder, f"attacks-{norm}-{domain}"))
            for file in TABLES:
                run.table(folder / file)
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


def _probed(
    trained: TrainedDetector, images: EvaluationSet, cfg: DictConfig, batch_size: int, most: int | None
) -> list[Alarm]:
    """Return the alarms of the detector itself; without gradients, those of forward passes alone."""
    if not trained.gradients:
        return forward_alarms(trained.detector, images.images[:most], len(trained.classes), batch_size)
    norm, seed = cfg.ensemble.norms[0], cfg.seed
    pictures, labels = images.images[:most], images.labels[:most]
    return probe(trained.detector, pictures, labels, norm=norm, seed=seed, batch_size=batch_size)


def _gallery(
    trained: TrainedDetector, images: EvaluationSet, cfg: DictConfig, batch_size: int
) -> tuple[Figure, Figure]:
    """Draw a few pictures before and after an attack, and one of them alone: the first whose answer changes."""
    attack, number, eps_levels = instantiate(cfg.gallery.attack), cfg.gallery.pictures, cfg.gallery.eps_levels
    examples = make_examples(trained, images, attack, number, eps_levels, batch_size)
    arrays = {name: tensor.numpy() for name, tensor in examples.items()}
    first = int((arrays["predicted_clean"] != arrays["predicted_adversarial"]).argmax())
    alone = {name: array[first : first + 1] for name, array in arrays.items()}
    drawn = partial(draw_gallery, class_names=trained.classes, eps_levels=eps_levels)
    return drawn(**arrays), drawn(**alone)


def _finding(table: pd.DataFrame, verdict: list[Alarm], null: str | None) -> str:
    """Return the finding of a sweep, at the largest radius up to 1 level."""
    names, eps_levels = [warning.name for warning in verdict if warning.fired], reported_radius(table["eps_levels"])
    sentences = robustness_sentences(table, reported_curve(table), eps_levels, null, {table["defense"].iloc[0]: names})
    return f"{' '.join(sentences)} Alarms: {alarm.fired(verdict)}."


def _metrics(table: pd.DataFrame, costs: pd.DataFrame) -> dict[str, float]:
    """Return the main numbers under names such as ``robust_accuracy/linf/float/0.5``."""
    robust = table[(table["attack"] == WORST) & (table["metric"] == "accuracy")]
    points = {
        f"robust_accuracy/{row['norm']}/{row['domain']}/{row['eps_levels']:g}": float(row["estimate"])
        for row in robust.to_dict("records")
    }
    counts = {f"sweep_{way}_images": float(costs[way].sum()) for way in ("forward", "backward")}
    return {**points, "sweep_seconds": float(costs["seconds"].sum()), **counts}
