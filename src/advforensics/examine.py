"""The command `examine`: what a detector says of a picture, and how little would make it say something else."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from advforensics.attacks.files import whole_levels
from advforensics.evaluation.answer_map import map_of
from advforensics.evaluation.examination import Change, Examination, answers_recompressed
from advforensics.evaluation.images import pictures_of
from advforensics.evaluation.run_parts import gradients_of
from advforensics.evaluation.verdict import Judge
from advforensics.evaluation.whole_picture import detector_of_pictures
from advforensics.persistence.atomic import atomic
from advforensics.persistence.provenance import code_digest
from advforensics.persistence.unfinished import without
from advforensics.reporting.examined import examined_page, sentences
from advforensics.sources.base import Picture, Rejection
from advforensics.sources.photos import photos_at
from advforensics.store.reading import PatchStore
from advforensics.store.training_pictures import unlike_training

log = logging.getLogger(__name__)
RESULT, PAGE = "result.json", "page.html"
WHERE = ("accelerator", "json", "picture", "folder", "checkpoint", "store")  # keys that no result depends on
Result = dict[str, Any]


def examine(cfg: DictConfig) -> list[Result]:
    """Examine a picture, or each picture of a folder, as ``conf/examine.yaml`` describes, and tell what was found.

    Each picture gets a folder below ``cfg.folder``, with ``page.html``, ``result.json`` and the forged files that were
    found. Of a folder, ``examined.csv`` has a row for each. A picture that the same detector has examined in the same
    way before is only told again, so an examination that was killed goes on with the picture it was at.

    Returns:
        The content of each ``result.json``.

    Raises:
        FileNotFoundError: If there is no such picture, detector or store.
        ValueError: If no file can be read as a picture, or the detector cannot take one of this size.
    """
    store = PatchStore(cfg.store) if cfg.store else None
    trained = detector_of_pictures(cfg)
    judge, photos = Judge.of(trained, store), photos_at(Path(str(cfg.picture)))
    what = OmegaConf.to_container(without(cfg, *WHERE))
    known = [what, trained.sha256, code_digest(), store and store.digest()]
    results, rejected = list[Result](), list[Rejection]()
    for number in tqdm(range(len(photos)), desc="examine", unit="picture", disable=None):
        picture = photos.read(number)
        if isinstance(picture, Rejection):
            log.warning("%s cannot be used: %s", picture.name, picture.reason)
            rejected.append(picture)
            continue
        folder = Path(cfg.folder) / picture.name
        identity = hashlib.sha256(json.dumps([*known, picture.content]).encode()).hexdigest()
        result = _kept(folder / RESULT, identity)
        if result is None:
            began = time.perf_counter()
            unlike = unlike_training(store, picture.file_metadata) if store else None
            result = {"identity": identity, **_examined(picture, judge, unlike, cfg, folder)}
            result["seconds"] = round(time.perf_counter() - began, 1)
            with atomic(folder / RESULT) as unfinished:
                unfinished.write_text(json.dumps(result, indent=1) + "\n")
        results.append(result)
        tqdm.write(json.dumps(result) if cfg.json else "\n".join([*sentences(result), f"  {folder / PAGE}"]))
    if not results:
        raise ValueError(f"{cfg.picture} holds no picture that can be examined: {rejected[0].reason}")
    if Path(str(cfg.picture)).is_dir():
        with atomic(Path(cfg.folder) / "examined.csv") as unfinished:
            _table(results, rejected).to_csv(unfinished, index=False)
    return results


def _kept(path: Path, identity: str) -> Result | None:
    """Return what was found before, if it is the same picture, detector and way."""
    if not path.is_file():
        return None
    kept: Result = json.loads(path.read_text())
    return kept if kept["identity"] == identity else None


def _examined(picture: Picture, judge: Judge, unlike: list[str] | None, cfg: DictConfig, folder: Path) -> Result:
    """Examine a picture, and write its page and its forged files."""
    folder.mkdir(parents=True, exist_ok=True)
    image, trained = pictures_of([picture.pixels])[0], judge.trained
    verdict, probabilities = judge(image)
    ensemble = cfg.ensemble.copy()
    if "jpeg" in ensemble.domains and picture.file_metadata["quality"]:
        quality = int(picture.file_metadata["quality"])
        ensemble.domains.jpeg.qualities = [quality, quality]
    gradients = gradients_of(trained, cfg)
    examination = Examination(trained, image, verdict, ensemble, cfg.eps_levels, gradients, cfg.seed, folder)
    changes = {change.domain: change for change in examination.smallest_changes()}
    where = map_of(trained.detector, image, verdict) if trained.gradients else None
    names, forged = trained.classes, changes.get("png")
    again = []
    for quality in cfg.recompressed:
        both = [image] if forged is None or not forged.levels else [image, forged.picture]
        answers = [names[answer] for answer in answers_recompressed(trained.detector, both, quality)]
        again.append({"quality": quality, "verdict": answers[0], "forged": answers[1] if len(answers) > 1 else None})
    result: Result = {
        "picture": picture.name,
        **{name: picture.file_metadata[name] for name in ("format", "width", "height", "quality")},
        "detector": trained.name,
        "checkpoint": trained.sha256,
        "verdict": names[verdict],
        "probability": probabilities[verdict],
        "probabilities": dict(zip(names, probabilities, strict=True)),
        "calibrated_on": judge.calibrated_on,
        "patches": where.strength.size if where is not None and where.agreeing is not None else None,
        "agreeing": where.agreeing if where is not None else None,
        "largest_tried": max(cfg.eps_levels),
        "white_box": trained.gradients,
        "changes": {name: _told(change, names, folder) for name, change in changes.items()},
        "recompressed": again,
        "unlike_training": unlike,
    }
    shown = forged if forged is not None and forged.levels else None
    page = examined_page(
        result,
        picture.pixels,
        whole_levels(shown.picture) if shown is not None else None,
        where.strength if where is not None else None,
    )
    with atomic(folder / PAGE) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return result


def _told(change: Change, names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return a change as ``result.json`` has it; the path of its file is relative to that."""
    becomes = names[change.answer] if change.levels is not None else None
    file = change.file.relative_to(folder).as_posix() if change.file else None
    return {"levels": change.levels, "becomes": becomes, "file": file}


def _table(results: list[Result], rejected: list[Rejection]) -> pd.DataFrame:
    """Return a row for each picture, and for each file that is none."""
    rows = [
        {name: result[name] for name in ("picture", "verdict", "probability", "agreeing")}
        | {f"{domain}_levels": change["levels"] for domain, change in result["changes"].items()}
        | {"unlike_training": "; ".join(result["unlike_training"] or ())}
        for result in results
    ]
    return pd.DataFrame([*rows, *({"picture": refused.name, "reason": refused.reason} for refused in rejected)])
