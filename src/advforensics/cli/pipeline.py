"""What `make run` does before and after `dvc repro`: choose the pictures, and print where the results are.

``python -m advforensics.cli.pipeline [--photos FOLDER] [--prepare OVERRIDES]`` writes ``params.yaml`` for the
simulator, or for a folder of photographs. With ``--results`` it prints where report and dashboard are, with
``--dashboard`` the address of the dashboard.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path

import joblib
from hydra.utils import instantiate
from omegaconf import OmegaConf

from advforensics.cli.main import config_dir

PARAMS = Path("params.yaml")
HEADER = "# The settings of `dvc repro`. `make run PHOTOS=...` writes this file; you can also edit it.\n"


def settings(photos: str | None, prepare: str = "") -> dict[str, object]:
    """Return the content of ``params.yaml``.

    Args:
        photos: Folder of photographs; ``None`` for simulated ones.
        prepare: Further overrides of `advforensics prepare`, as on its command line: ``experiment=camera``.

    Raises:
        NotADirectoryError: If ``photos`` is not a folder.
    """
    if photos is None:
        name, inputs, seeds = _run_name(prepare) or "simulator", "conf/source", "1"
        # A first look should be quick: half the patches, a light training, one norm, few images, and no radius at which
        # most of them stand. Other questions get the default training, for they may need another.
        source = prepare or "source=simulator patches.per_photograph=24"
        train = "" if prepare else "experiment=quick"
        sweep = "images=192 eps_levels=[0,0.25,0.5,1,2,4,8] ensemble.norms=[linf]"
    else:
        folder = Path(photos).expanduser().resolve()
        if not folder.is_dir():
            raise NotADirectoryError(f"PHOTOS={photos} is not a folder; give the folder that holds your photographs")
        # Hydra's quoting: a quote is escaped, and so are the backslashes right before it.
        quoted = re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + (match[2] and f"\\{match[2]}"), str(folder))
        override = shlex.quote(f'source.folder="{quoted}"')
        name = "-".join(filter(None, (_run_name(prepare), re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name) or "photos")))
        inputs = str(folder)
        # Results on real photographs should show how much trainings differ.
        source, train, sweep = f"{prepare or 'source=photos'} {override}", "", "images=512"
        seeds = "1,2,3"
    import torch  # only here, since that takes seconds

    # Jobs side by side, of a thread each, take less time than one after another with all cores; more jobs than cores,
    # so that none idles beside the last and longest one. A GPU's memory they would fill together.
    side_by_side = f"joblib hydra.launcher.n_jobs={2 * joblib.cpu_count()}"
    launcher = "local" if torch.cuda.is_available() else side_by_side
    return {
        "name": name,
        "inputs": inputs,
        "source": source,
        "train": train,
        "sweep": sweep,
        "seeds": seeds,
        "launcher": launcher,
    }


def _run_name(prepare: str) -> str:
    """Return the experiment in the overrides, or else all overrides as a folder name."""
    experiment = re.search(r"\bexperiment=(\w+)", prepare)
    return experiment[1] if experiment else re.sub(r"[^A-Za-z0-9_-]+", "-", prepare).strip("-")


def _dashboard() -> str:
    """Return the address of what was recorded, which opens as model training."""
    address: str = instantiate(OmegaConf.load(config_dir() / "tracking" / "sqlite.yaml")).address()
    return address


def main(arguments: list[str]) -> None:
    """Write ``params.yaml``, or print the results of the run that it describes."""
    parser = argparse.ArgumentParser("make run")
    parser.add_argument("--results", action="store_true")
    parser.add_argument("--dashboard", action="store_true")
    parser.add_argument("--photos")
    parser.add_argument("--prepare", default="")
    options = parser.parse_args(arguments)
    if options.results:
        report = Path("out") / str(OmegaConf.load(PARAMS).name) / "report"
        print(f"report:    {report / 'report.html'}")
        print(f"dashboard: make dashboard, then {_dashboard()}")
        print(f"\n{(report / 'finding.txt').read_text().strip()}")
        return
    if options.dashboard:
        print(_dashboard())
        return
    text = HEADER + OmegaConf.to_yaml(OmegaConf.create(settings(options.photos, options.prepare)))
    # Rewriting equal content would change the file's time for no reason.
    if not PARAMS.is_file() or PARAMS.read_text() != text:
        PARAMS.write_text(text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (NotADirectoryError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
