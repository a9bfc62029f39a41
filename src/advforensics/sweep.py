"""The command `sweep`: attack one trained detector over a range of radii."""

import logging
import shutil
from pathlib import Path

from omegaconf import DictConfig

from advforensics.assessment import WHERE, Assessment
from advforensics.detectors.device import open_fabric
from advforensics.evaluation.run_parts import open_store_parts, open_store_parts_again, run_parts
from advforensics.persistence.unfinished import unfinished_folder, without
from advforensics.store.reading import PatchStore
from advforensics.targets.loading import load, results_folder
from advforensics.targets.question import Question

log = logging.getLogger(__name__)


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
    trained = load(cfg.target, Question.of(store))
    what = without(cfg, *WHERE)
    unfinished = unfinished_folder(folder / "unfinished", config=what, detector=trained.sha256, store=store.digest())
    if cfg.parts is not None:
        parts, _ = open_store_parts(cfg, unfinished, store, trained, fabric)
        run_parts(cfg, parts, fabric, cfg.parts, open_store_parts_again)
        log.info("%d of %d parts are missing; to write the tables, leave `parts` out", len(parts.missing()), len(parts))
        return {}
    _describe_data(store, folder / "data")
    kinds = {"pictures": cfg.patches_per_picture > 1, cfg.split: cfg.split != "test"}
    assessment = Assessment(
        kind,
        trained,
        folder,
        unfinished,
        fabric,
        open=lambda: open_store_parts(cfg, unfinished, store, trained, fabric),
        opener=open_store_parts_again,
        pictures=f"of the split `{cfg.split}` of `{cfg.store}`",
        among=[name for name, other in kinds.items() if other],
    )
    metrics = assessment.run(cfg)
    shutil.rmtree(unfinished)
    return metrics


def _describe_data(store: PatchStore, folder: Path) -> None:
    """Copy the leak audit and the figures of the store beside the results: a report may run without the store."""
    folder.mkdir(exist_ok=True)
    for name in ("audit.json", *store.files.names("command.txt"), *store.files.names("figures/*.svg")):
        (folder / Path(name).name).write_bytes(store.files.read(name))
