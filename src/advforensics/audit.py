"""The command `audit`: how far can somebody else's detector be trusted, on pictures as they come?"""

import logging
import shutil
from dataclasses import astuple
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from advforensics.alarms.contract import labels_swapped, preprocessing_differs
from advforensics.assessment import WHERE, Assessment
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.device import open_fabric
from advforensics.evaluation.contract import balanced_accuracy, clean_answers, remedies, summary
from advforensics.evaluation.parts import Parts
from advforensics.evaluation.pictures import PictureParts, choose_pictures, classes_of
from advforensics.evaluation.price import affordable, price
from advforensics.evaluation.run_parts import gradients_of, parts_of, run_parts
from advforensics.evaluation.whole_picture import as_whole_pictures
from advforensics.persistence.journal import Journal
from advforensics.persistence.unfinished import unfinished_folder, without
from advforensics.report import report
from advforensics.reporting.findings import reported_radius
from advforensics.sources.photos import Photos
from advforensics.targets.foreign import UNSAFE, Foreign
from advforensics.targets.loading import load
from advforensics.targets.question import Question

log = logging.getLogger(__name__)
PICTURES = "pictures.csv"  # the pictures that were chosen, and the answers on them
FACTS = ["name", "class", "height", "width", "sample_id"]  # of a picture, there
UNCHANGED = ["linf_levels", "rms_levels", "l2"]  # nothing has been changed yet
SHOWN = 5  # rejected files, and remedies
TRIED = 64  # pictures on which remedies are tried
# Classes of pictures to which nothing was done, by the names that data sets give them.
PRISTINE = {"real", "pristine", "authentic", "original", "natural", "human", "nature", "camera"}


def audit(cfg: DictConfig) -> dict[str, float]:
    """Judge a detector as ``conf/audit.yaml`` describes: on clean pictures, then under attack at their own size.

    Writes into ``cfg.folder``: ``pictures.csv``, the pictures that were chosen and the answers on them;
    ``rejected.csv``, the files that cannot be used; ``NAME/sweep/`` with the tables of a sweep; and
    ``report/report.html``. An audit that was killed goes on with the batch it was at. With ``cfg.parts`` only these
    parts are attacked, so that several jobs can share an audit, and no tables are written.

    Returns:
        As `sweep`: clean accuracy, robust accuracy by norm, domain and radius, and what it cost.

    Raises:
        FileNotFoundError: If there are no pictures, or no detector.
        ValueError: If there are fewer than two classes, the detector does not do what the config says, or the folder
            holds the audit of another detector.
    """
    photos, null = _photos(cfg)
    classes = classes_of(photos, null)
    fabric = open_fabric(cfg.accelerator, cfg.devices)
    # How large pictures are is known once they are read; a detector is first asked about one of the usual size.
    trained = load(cfg.target, Question(cfg.task, classes, (3, cfg.first_side, cfg.first_side), None))
    trained = _of_pictures(trained, classes, cfg)
    folder = Path(cfg.folder)
    sweep = folder / (UNSAFE.sub("-", trained.name).strip("-.") or "detector") / "sweep"
    _refuse_another(folder, sweep)
    sweep.mkdir(parents=True, exist_ok=True)
    cfg = cfg.copy()
    what = without(cfg, *WHERE, "report")
    identity = {"detector": trained.sha256, "pictures": photos.identity}
    unfinished = unfinished_folder(sweep / "unfinished", config=what, **identity)
    parts, rejected = _open(cfg, unfinished, trained, photos, trained.classes[0] == null, fabric)
    _tell_rejected(rejected, folder / "rejected.csv")
    if cfg.parts is not None:
        run_parts(cfg, parts, fabric, cfg.parts, open_again)
        log.info("%d of %d parts are missing; to write the tables, leave `parts` out", len(parts.missing()), len(parts))
        return {}
    answers = clean_answers(parts)
    table = pd.read_csv(unfinished / PICTURES, dtype={"sample_id": str})
    table[FACTS].merge(answers.drop(columns=UNCHANGED), on="sample_id").to_csv(folder / PICTURES, index=False)
    alarms = [labels_swapped(balanced_accuracy(answers), len(classes))]
    if isinstance(trained.detector, Foreign) and trained.detector.differentiable() is not trained.detector:
        alarms.append(preprocessing_differs(answers))
    _tell_contract(answers, parts)
    log.info("price: %s", price(parts, cfg.probed))
    assessment = Assessment(
        "audit",
        trained,
        sweep,
        unfinished,
        fabric,
        open=lambda: (parts, []),
        opener=open_again,
        pictures=f"of `{photos.folder}`, at their own size",
        probed=cfg.probed,
        further=alarms,
    )
    metrics = assessment.run(cfg)
    where = {"runs": str(folder), "folder": str(folder / "report")}
    settings = where | {"eps_levels": reported_radius(cfg.eps_levels), **cfg.report}
    report(OmegaConf.create(settings))
    shutil.rmtree(unfinished)
    return metrics


def open_again(cfg: DictConfig, folder: Path, fabric: Fabric) -> Parts:
    """Return the parts of an audit, in a process that has nothing but its config."""
    photos, null = _photos(cfg)
    classes = classes_of(photos, null)
    trained = load(cfg.target, Question(cfg.task, classes, (3, cfg.first_side, cfg.first_side), None))
    trained = _of_pictures(trained, classes, cfg)
    parts, _ = _open(cfg, folder, trained, photos, trained.classes[0] == null, fabric)
    return parts


def _photos(cfg: DictConfig) -> tuple[Photos, str | None]:
    """Return the labelled folder, and the class of its pictures to which nothing was done, if one is known."""
    photos = instantiate(cfg.source)
    if not isinstance(photos, Photos) or photos.layout is None:
        raise ValueError(
            "an audit judges labelled pictures in a folder: give source=folders, or the layout of a data set, such as"
            " source=genimage"
        )
    if cfg.pristine is not None:
        return photos, cfg.pristine
    found = {getattr(note, "source_class", None) for note in photos.annotations}
    named = sorted(name for name in found if name is not None and name.lower() in PRISTINE)
    return photos, named[0] if len(named) == 1 else None


def _of_pictures(trained: TrainedDetector, classes: tuple[str, ...], cfg: DictConfig) -> TrainedDetector:
    """Return a detector of whole pictures of these classes, of which one of ours may have another order.

    Raises:
        ValueError: If it knows other classes.
    """
    trained = as_whole_pictures(trained, cfg.patches)
    if set(trained.classes) != set(classes):
        raise ValueError(
            f"{trained.name} knows {', '.join(trained.classes)}, and the folder has {', '.join(classes)}: name its"
            " folders after the classes of the detector"
        )
    return trained


def _open(
    cfg: DictConfig, folder: Path, trained: TrainedDetector, photos: Photos, null_first: bool, fabric: Fabric
) -> tuple[Parts, pd.DataFrame]:
    """Return the parts of an audit, and the files that cannot be used."""
    fabric.to_device(trained.detector)
    table, rejections = choose_pictures(photos, trained.classes, cfg.images, cfg.split, folder / PICTURES)
    gradients = gradients_of(trained, cfg)
    if gradients == "stand-in":
        raise ValueError(
            "an audit has no pictures to fit a surrogate on: set ensemble.without_gradients.surrogate=null, or take"
            " ensemble=audit"
        )

    def of(table: pd.DataFrame) -> Parts:
        images = PictureParts(photos, table, cfg.part_size)
        return parts_of(cfg, folder, trained, images, gradients, null_first, cfg.batch_size)

    parts = of(table)
    if cfg.budget is not None:  # worked out once, so that an audit which goes on takes the same pictures
        bought = Journal(folder).get("budget", lambda: {"pictures": affordable(parts, cfg.budget, cfg.probed)})
        if bought["pictures"] < len(table):
            log.warning("budget=%g: %d of %d pictures are taken", cfg.budget, bought["pictures"], len(table))
            parts = of(table.head(bought["pictures"]))
    outside = [
        (name, note) for name, note in zip(photos.names, photos.annotations, strict=True) if isinstance(note, str)
    ]
    return parts, pd.DataFrame([*outside, *map(astuple, rejections)], columns=["name", "reason"])


def _refuse_another(folder: Path, sweep: Path) -> None:
    """Refuse to mix two detectors in one report.

    Raises:
        ValueError: If the folder holds the audit of another detector.
    """
    others = [path.parents[1] for path in folder.glob("*/sweep/samples.parquet") if path.parent != sweep]
    if others:
        raise ValueError(f"{folder} holds the audit of {others[0].name}: give each detector its own, folder=PATH")


def _tell_rejected(rejected: pd.DataFrame, path: Path) -> None:
    rejected.to_csv(path, index=False)
    if len(rejected):
        first = "; ".join(f"{name}: {reason}" for name, reason in rejected.head(SHOWN).itertuples(index=False))
        log.warning("%d files cannot be used (%s lists them): %s", len(rejected), path, first)


def _tell_contract(answers: pd.DataFrame, parts: Parts) -> None:
    """Say how right the detector is on clean pictures; where that is no better than chance, what would mend it."""
    classes = parts.trained.classes
    log.info("contract: %s", summary(answers, classes))
    if balanced_accuracy(answers).low > 1 / len(classes):
        return
    images = parts.images.sample().first(TRIED)
    tried = remedies(parts.trained.detector, images, len(classes), parts.batch_size(images))
    log.warning(
        "no better than chance (%.1f%%). On the middles of %d of these pictures, mean of the classes; nothing of it is"
        " applied:\n%s",
        100 / len(classes),
        len(images.images),
        "\n".join(f"  {remedy}" for remedy in tried[: SHOWN + 1]),
    )
