"""What `make run` does around `dvc repro`: say on which pictures, and afterwards what came out.

``python -m advforensics.pipeline [--photos FOLDER] [--prepare OVERRIDES]`` writes ``params.yaml`` for the simulator, or
for a folder of photographs; with ``--say`` it prints where report and dashboard are, with ``--dashboard`` the latter.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from advforensics.cli import config_dir

PARAMS = Path("params.yaml")
HEADER = "# What `dvc repro` runs. `make run PHOTOS=...` writes this file; edit it by hand for anything else.\n"


def settings(photos: str | None, prepare: str = "") -> dict[str, object]:
    """Return the content of ``params.yaml``.

    Args:
        photos: Folder of photographs; ``None`` for what is simulated.
        prepare: What else `advforensics prepare` is told, as one would on its command line: ``experiment=camera``.

    Raises:
        NotADirectoryError: If ``photos`` is no folder.
    """
    if photos is None:
        name, inputs, seeds = _named(prepare) or "simulator", "conf/source", [1]
        # A first look should not take longer than a coffee: fewer patches, and not the radius at which most stand.
        source = prepare or "source=simulator patches.per_photograph=24"
        sweep = "images=256 eps_levels=[0,0.25,0.5,1,2,4,8]"
    else:
        folder = Path(photos).expanduser().resolve()
        if not folder.is_dir():
            raise NotADirectoryError(f"PHOTOS={photos} is not a folder; give the folder that holds your photographs")
        # Hydra's way of quoting: a quote is escaped, and so are the backslashes right before one.
        quoted = re.sub(r'(\\*)("|$)', lambda end: 2 * end[1] + (end[2] and f"\\{end[2]}"), str(folder))
        override = shlex.quote(f'source.folder="{quoted}"')
        name = "-".join(filter(None, (_named(prepare), re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name) or "photos")))
        inputs = str(folder)
        # What is said of real photographs deserves to know how much one training differs from the next.
        source, sweep, seeds = f"{prepare or 'source=photos'} {override}", "images=512", [1, 2, 3]
    return {"name": name, "source": source, "sweep": sweep, "inputs": inputs, "seeds": seeds}


def _named(prepare: str) -> str:
    """Return the name of the experiment in overrides, or all of them in letters that a folder may have."""
    experiment = re.search(r"\bexperiment=(\w+)", prepare)
    return experiment[1] if experiment else re.sub(r"[^A-Za-z0-9_-]+", "-", prepare).strip("-")


def _dashboard() -> str:
    """Return the address of what was recorded, which opens as model training."""
    address: str = instantiate(OmegaConf.load(config_dir() / "tracking" / "sqlite.yaml")).address()
    return address


def main(arguments: list[str]) -> None:
    """Write ``params.yaml``, or say what came out of the run it describes."""
    parser = argparse.ArgumentParser("make run")
    parser.add_argument("--say", action="store_true")
    parser.add_argument("--dashboard", action="store_true")
    parser.add_argument("--photos")
    parser.add_argument("--prepare", default="")
    told = parser.parse_args(arguments)
    if told.say:
        report = Path("out") / str(OmegaConf.load(PARAMS).name) / "report"
        print(f"report:    {report / 'report.html'}")
        print(f"dashboard: make dashboard, then {_dashboard()}")
        print(f"\n{(report / 'finding.txt').read_text().strip()}")
        return
    if told.dashboard:
        print(_dashboard())
        return
    text = HEADER + OmegaConf.to_yaml(OmegaConf.create(settings(told.photos, told.prepare)))
    # DVC looks at the content, but an untouched file spares everybody the question what has changed.
    if not PARAMS.is_file() or PARAMS.read_text() != text:
        PARAMS.write_text(text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (NotADirectoryError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
