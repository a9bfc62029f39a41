"""What `make run` does around `dvc repro`: say on which pictures, and afterwards what came out.

``python -m advforensics.pipeline [FOLDER]`` writes ``params.yaml`` for the simulator, or for a folder of photographs;
``python -m advforensics.pipeline --say`` prints where the report is.
"""

import re
import shlex
import sys
from pathlib import Path

from omegaconf import OmegaConf

PARAMS = Path("params.yaml")
HEADER = "# What `dvc repro` runs. `make run PHOTOS=...` writes this file; edit it by hand for anything else.\n"


def settings(photos: str | None) -> dict[str, object]:
    """Return the content of ``params.yaml``.

    Args:
        photos: Folder of photographs; ``None`` for the simulator.

    Raises:
        NotADirectoryError: If ``photos`` is no folder.
    """
    if photos is None:
        name, inputs, seeds = "simulator", "conf/source/simulator.yaml", [1]
        # A first look should not take longer than a coffee: fewer patches, and not the radius at which most stand.
        source, sweep = "source=simulator patches.per_photograph=24", "images=256 eps_levels=[0,0.25,0.5,1,2,4,8]"
    else:
        folder = Path(photos).expanduser().resolve()
        if not folder.is_dir():
            raise NotADirectoryError(f"PHOTOS={photos} is not a folder; give the folder that holds your photographs")
        # Hydra's way of quoting: a quote is escaped, and so are the backslashes right before one.
        quoted = re.sub(r'(\\*)("|$)', lambda end: 2 * end[1] + (end[2] and f"\\{end[2]}"), str(folder))
        override = shlex.quote(f'source.folder="{quoted}"')
        name, inputs = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name) or "photos", str(folder)
        # What is said of real photographs deserves to know how much one training differs from the next.
        source, sweep, seeds = f"source=photos {override}", "images=512", [1, 2, 3]
    return {"name": name, "source": source, "sweep": sweep, "inputs": inputs, "seeds": seeds}


def main(arguments: list[str]) -> None:
    """Write ``params.yaml``, or say what came out of the run it describes."""
    if arguments == ["--say"]:
        report = Path("out") / str(OmegaConf.load(PARAMS).name) / "report"
        print(f"report:    {report / 'report.html'}")
        print("dashboard: make dashboard, then http://127.0.0.1:5000 in a browser")
        print(f"\n{(report / 'finding.txt').read_text().strip()}")
        return
    text = HEADER + OmegaConf.to_yaml(OmegaConf.create(settings(arguments[0] if arguments else None)))
    # DVC looks at the content, but an untouched file spares everybody the question what has changed.
    if not PARAMS.is_file() or PARAMS.read_text() != text:
        PARAMS.write_text(text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (NotADirectoryError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
