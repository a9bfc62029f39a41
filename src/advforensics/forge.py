"""The command `forge`: a picture file that a detector takes for something else."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, open_dict

from advforensics.attacks.domains import NOTE
from advforensics.evaluation.examination import Examination
from advforensics.evaluation.images import pictures_of
from advforensics.evaluation.run_parts import gradients_of
from advforensics.evaluation.verdict import Judge
from advforensics.evaluation.whole_picture import detector_of_pictures
from advforensics.persistence.atomic import atomic
from advforensics.sources.base import Rejection
from advforensics.sources.photos import photos_at

DOMAINS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}  # by the suffix of the file


def forge(cfg: DictConfig) -> dict[str, Any]:
    """Change a picture as ``conf/forge.yaml`` describes, until its file is taken for the class that is wanted.

    The file is written only when the detector, which reads it from the disk, sees that class. Its EXIF says what it is.

    Returns:
        What the detector said of the picture and says of the file, and the size of the change.

    Raises:
        FileNotFoundError: If there is no such picture or detector.
        FileExistsError: If there is a file already.
        ValueError: If the detector does not know the class, sees it already, or no change was found.
    """
    out, path = Path(str(cfg.out)), Path(str(cfg.picture))
    if out.suffix.lower() not in DOMAINS:
        raise ValueError(f"out={out}: the forged file is a PNG or a JPEG: give a name that ends with .png or .jpg")
    if out.exists():
        raise FileExistsError(f"out={out}: there is such a file already; give another name, or remove it")
    if path.is_dir():
        raise ValueError(f"picture={path} is a folder: give one picture")
    trained = detector_of_pictures(cfg)
    if cfg.wanted not in trained.classes:
        raise ValueError(f"wanted={cfg.wanted}: the detector knows {', '.join(trained.classes)}")
    picture, judge, wanted = photos_at(path).read(0), Judge(trained), trained.classes.index(cfg.wanted)
    if isinstance(picture, Rejection):
        raise ValueError(f"{path} cannot be used: {picture.reason}")
    image = pictures_of([picture.pixels])[0]
    verdict, before = judge(image)
    if verdict == wanted:
        raise ValueError(f"the detector says {cfg.wanted} of {path} already: there is nothing to forge")
    ensemble, name = cfg.ensemble.copy(), DOMAINS[out.suffix.lower()]
    with open_dict(ensemble):
        ensemble.domains = {name: ensemble.domains[name]}
        for attack in ensemble.attacks.values():
            attack.target_class = wanted
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        gradients, folder = gradients_of(trained, cfg), Path(scratch)
        examination = Examination(
            trained, image, verdict, ensemble, [cfg.eps_levels], gradients, cfg.seed, folder, wanted
        )
        (change,) = examination.smallest_changes()
        if change.file is None:
            raise ValueError(
                f"no change of up to {cfg.eps_levels:g} levels was found that makes {path} {cfg.wanted}: try a larger"
                " eps_levels, or more ensemble.attacks.apgd_targeted.steps"
            )
        read = photos_at(change.file).read(0)
        assert not isinstance(read, Rejection)
        answer, after = judge(pictures_of([read.pixels])[0])
        assert answer == wanted
        with atomic(out) as unfinished:
            unfinished.write_bytes(change.file.read_bytes())
    result = {
        "picture": str(path),
        "verdict": trained.classes[verdict],
        "probability": before[verdict],
        "out": str(out),
        "forged_verdict": cfg.wanted,
        "forged_probability": after[wanted],
        "levels": change.levels,
        "exif": NOTE,
    }
    shares = [f"{100 * share:.0f}%" for share in (before[verdict], after[wanted])]
    lines = [
        f"{path}: {result['verdict']}, {shares[0]}",
        f"{out}: {cfg.wanted}, {shares[1]}, as read from the disk",
        f"  changed by up to {change.levels:g} levels{' before compression' * (name == 'jpeg')}",
    ]
    print(json.dumps(result) if cfg.json else "\n".join(lines))
    return result
