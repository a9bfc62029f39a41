"""The command line: ``advforensics COMMAND``, each command a Hydra application."""

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
import joblib
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write

from advforensics.cli.finished import Finished, plain
from advforensics.cli.identity import identity
from advforensics.cli.jobs import CURRENT, told_at_the_end
from advforensics.cli.mistakes import carried_as_text, check_numbers, mistakes_in_one_line
from advforensics.cli.threads import share, wait_passively

log = logging.getLogger(__name__)

COMMANDS = {
    "prepare": "pictures -> labelled patches with a manifest",
    "train": "one detector, trained with one defence",
    "sweep": "attacks x radii against one detector",
    "examine": "one picture: the verdict, and how little would change it",
    "forge": "a picture file that a detector takes for something else",
    "audit": "somebody else's detector on a labelled folder, from clean pictures to the report",
    "transfer": "pictures made on one detector, tried on another, for every pair",
    "certify": "proven radii of one detector, beside its sweep",
    "export": "a detector as ONNX, TorchScript, exported program, Hugging Face folder or MLflow model, with a card",
    "report": "sample tables -> curves, figures, one page",
}
OF_A_PICTURE = ("examine", "forge")  # commands
OBJECTIVES = ("val_accuracy", "val_robust_accuracy")


def config_dir() -> Path:
    """Return the folder of configs: inside the installed package, or ``conf/`` of a checkout."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "conf"


def main() -> None:
    """Run the Hydra application that the first argument names."""
    if sys.argv[1:] and sys.argv[1] == "-sc" and "COMP_LINE" in os.environ:
        _complete()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command not in COMMANDS:
        listing = "\n".join(f"  {name:8} {what}" for name, what in COMMANDS.items())
        usage = (
            f"usage: advforensics COMMAND [key=value ...]\n\n{listing}\n\n"
            "`advforensics COMMAND --help` shows the composed config; every value in it can be overridden.\n"
        )
        wanted_help = command in ("-h", "--help")
        (sys.stdout if wanted_help else sys.stderr).write(usage)
        raise SystemExit(0 if wanted_help else 2)
    sys.argv[1:] = as_overrides(command, sys.argv[2:])
    # torch counts the machine's cores, not a container's share of them, and would start too many threads.
    os.environ.setdefault("OMP_NUM_THREADS", str(joblib.cpu_count()))
    wait_passively()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # at import it looks for updates over the network
    _hush()
    with told_at_the_end():
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=command)(_task(command))()


def as_overrides(command: str, arguments: list[str]) -> list[str]:
    """Return arguments as Hydra knows them: a command about a picture takes its path first, and ``--json`` anywhere."""
    if command not in OF_A_PICTURE:
        return arguments
    first, *rest = arguments or [""]
    if first and not first.startswith("-") and ("=" not in first or Path(first).exists()):
        escaped = first.replace("\\", "\\\\").replace("'", "\\'")
        arguments = [f"picture='{escaped}'", *rest]
    return ["json=true" if argument == "--json" else argument for argument in arguments]


def _hush() -> None:
    """Log warnings, and leave out those that tell a user nothing; a job in a process of its own needs this too."""
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")  # where Slurm is installed
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, about its own use of torch
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # patches are memory-mapped
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")  # metrics are per epoch
    warnings.filterwarnings("ignore", message=".*has been deprecated in v3.0.0.*")  # Hydra's sweeper, about Optuna
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # a training resumes its own state only
    warnings.filterwarnings("ignore", message=".*Grad strides do not match.*")  # torch's, about one-channel filters


def _complete() -> None:
    """Move the command from the line that a shell completes to where `main` looks for it; Hydra knows no commands."""
    program, command, *rest = [*os.environ["COMP_LINE"].split(" ", 2), ""]
    if command not in COMMANDS:
        print(*COMMANDS)
        raise SystemExit
    sys.argv.insert(1, command)
    os.environ["COMP_LINE"] = f"{program} {rest[0]}"


def _task(command: str) -> Callable[[DictConfig], list[float] | None]:
    """Return the application of a command."""

    def run(cfg: DictConfig) -> list[float] | None:
        return _run(command, cfg)  # a launcher pickles this function, with copies of all but what it can import

    return run


def _run(command: str, cfg: DictConfig) -> list[float] | None:
    """Run a command. It is imported only here, so that ``--help`` is quick."""
    _hush()
    with carried_as_text(), mistakes_in_one_line():
        check_numbers(cfg)
        entry = getattr(importlib.import_module(f"advforensics.{command}"), command)
        for chatty in ("pytorch_lightning", "lightning_fabric"):  # they set their level at import
            logging.getLogger(chatty).setLevel(logging.WARNING)
        result = _once(command, entry, cfg) if CURRENT else entry(cfg)
    # A sweeper optimises these; they never come from the test split.
    return [result[score] for score in OBJECTIVES if score in result] if command == "train" else None


def _once(command: str, entry: Callable[[DictConfig], Any], cfg: DictConfig) -> dict[str, float]:
    """Do a job that has not finished, with its share of the cores; return the result that it has now, or had."""
    import torch  # the command has imported it

    if threads := share(cfg.threads, HydraConfig.get().launcher, CURRENT["jobs"]):
        torch.set_num_threads(threads)
    finished = Finished(Path(CURRENT["folder"]), identity(command, cfg))
    with finished.alone():
        kept = None if cfg.force else finished.result()
        if kept is not None:
            CURRENT["status"] = "skipped"
            log.info("%s: finished earlier; force=true does it again", finished.folder)
            return kept
        began = finished.begin()
        with _relaunchable(command, cfg) if command == "train" else nullcontext():
            result = plain(entry(cfg))
        finished.end(result, began)
        return result


@contextmanager
def _relaunchable(command: str, cfg: DictConfig) -> Iterator[None]:
    """Let Lightning start this job in other processes too (``strategy=ddp``), for which it uses ``sys.argv``.

    Hydra's ``sys.argv`` lacks the command, and in a multirun it describes all jobs. So during a job it is replaced by
    the command and a file with the job's composed config.
    """
    hydra_config, arguments = HydraConfig.get(), sys.argv[1:]
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir  # the job's own folder, also in a multirun
    with TemporaryDirectory() as folder:
        (Path(folder) / "job.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        sys.argv[1:] = [command, f"--config-path={folder}", "--config-name=job", "hydra/job_logging=none"]
        try:
            yield
        finally:
            sys.argv[1:] = arguments
