"""The pipeline in ``dvc.yaml``: what a stage depends on is what its command imports, so that no edit goes unnoticed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from configs import Compose
from omegaconf import OmegaConf
from test_configs import MISSING, OPTIONS, REQUIRED, calls

from advforensics.cli.main import config_dir
from advforensics.persistence.imports import SOURCE, files_of, has_code, imported, needed

PROJECT = config_dir().parent
PIPELINE: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
# What records a run, or lets a killed one go on, changes no result; nor does the command line, nor what they import.
NEUTRAL = ("advforensics/tracking/", "advforensics/persistence/", "advforensics/cli/")
# Groups of which `make run` may choose any option; of the others it takes the defaults.
OPEN = {"prepare": ("source", "task")}


def named(config: Any) -> set[str]:
    """Return the modules whose functions and classes a config names."""
    return {target.rpartition(".")[0] for target, _ in calls(OmegaConf.to_container(config, resolve=True))}


def commands(stage: str) -> list[list[str]]:
    """Return the words of each command of a stage, without the program's name."""
    lines = PIPELINE[stage]["cmd"]
    return [line.split()[1:] for line in ([lines] if isinstance(lines, str) else lines)]


def modules_of(words: list[str], composed: Compose) -> set[str]:
    """Return what a command imports at first hand: its module, and what its config names."""
    command, *rest = words
    modules = {f"advforensics.{command}"}
    defenses = [word.removeprefix("defense=").split(",") for word in rest if word.startswith("defense=")]
    chosen = [[f"defense={name}"] for name in defenses[0]] if defenses else [[]]
    for group, name in OPTIONS:
        if group in OPEN.get(command, ()):
            chosen.append([f"{group}={name}", *MISSING.get(name, [])])
    for overrides in chosen:
        modules |= named(composed(command, *REQUIRED[command], *overrides))
    if command == "sweep":  # what builds the network that a checkpoint holds
        modules |= named(composed("train", *REQUIRED["train"]).detector)
    return modules


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_depends_on_the_modules_that_its_command_imports(stage: str, composed: Compose) -> None:
    found = needed(set().union(*(modules_of(words, composed) for words in commands(stage))), NEUTRAL)
    listed = [path.removeprefix("src/") for path in PIPELINE[stage]["deps"] if path.startswith("src/")]
    covered: set[str] = set()
    for path in listed:
        below = SOURCE / path
        assert below.exists(), f"{stage}: there is no src/{path}"
        files = below.rglob("*.py") if below.is_dir() else [below]
        covered |= {file.relative_to(SOURCE).as_posix() for file in files if file.suffix != ".py" or has_code(file)}
    assert sorted(found - covered) == [], f"{stage}: an edit of these would change no result of `dvc repro`"
    python = {path for path in covered if path.endswith(".py")}
    assert sorted(python - found) == [], f"{stage}: an edit of these would run it again for nothing"


def test_what_is_imported_is_seen(tmp_path: Path) -> None:
    # The pieces that the test above rests on: packages around a module, chains, modules named in `from`.
    assert set(files_of("advforensics.attacks.threat_model")) == {
        SOURCE / "advforensics" / name for name in ("__init__.py", "attacks/__init__.py", "attacks/threat_model.py")
    }
    assert not list(files_of("advforensics.attacks.threat_model.LEVEL"))
    chain = needed({"advforensics.attacks.lattice"}, NEUTRAL)
    attacks = ("lattice", "attackable", "losses", "random_state", "threat_model")
    assert chain == {f"advforensics/attacks/{name}.py" for name in attacks} | {"advforensics/detectors/device.py"}
    module = tmp_path / "module.py"
    module.write_text(
        "import a.b\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import c\n\ndef f():\n    import d\n"
    )
    assert {"a.b", "d"} <= set(imported(module))
    assert "c" not in set(imported(module))


def test_what_python_compiles_beside_a_source_is_no_change_of_it() -> None:
    for name, ignored in (("__pycache__/base.cpython-311.pyc", True), ("base.py", False)):
        asked = [sys.executable, "-m", "dvc", "check-ignore", "--quiet", f"src/advforensics/sources/{name}"]
        assert (subprocess.run(asked, cwd=PROJECT, check=False).returncode == 0) == ignored
