"""The pipeline in ``dvc.yaml``: what a stage depends on is what its command imports, so that no edit goes unnoticed."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from configs import Compose
from omegaconf import OmegaConf
from test_configs import MISSING, OPTIONS, REQUIRED, calls

from advforensics.cli.main import config_dir

PROJECT = config_dir().parent
SOURCE = PROJECT / "src"
PIPELINE: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
# What records a run, or lets a killed one go on, changes no result; nor does the command line, nor what they import.
NEUTRAL = ("advforensics/tracking/", "advforensics/persistence/", "advforensics/cli/")
# Groups of which `make run` may choose any option; of the others it takes the defaults.
OPEN = {"prepare": ("source", "task")}


def files_of(module: str) -> Iterator[Path]:
    """Yield the files that importing a module of ours runs, with the packages around it; none for an attribute."""
    parts = module.split(".")
    path = SOURCE.joinpath(*parts)
    if not (path.is_dir() or path.with_suffix(".py").is_file()):
        return
    for length in range(1, len(parts) + 1):
        path = SOURCE.joinpath(*parts[:length])
        yield path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(file: Path) -> Iterator[str]:
    """Yield the modules, and what may be modules, that a file imports when it runs, in functions too."""
    tree = ast.parse(file.read_text())
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needed(modules: set[str]) -> set[str]:
    """Return the files of this package that run when modules are imported, as paths below ``src``."""
    waiting, seen = list(modules), set[Path]()
    while waiting:
        for file in files_of(waiting.pop()):
            if file not in seen and not file.relative_to(SOURCE).as_posix().startswith(NEUTRAL):
                seen.add(file)
                waiting += imported(file)
    return {file.relative_to(SOURCE).as_posix() for file in seen if has_code(file)}


def has_code(file: Path) -> bool:
    """Tell whether a file holds more than a docstring, as most packages' own do not."""
    return len(ast.parse(file.read_text()).body) > 1


def named(config: Any) -> set[str]:
    """Return the modules whose functions and classes a config names."""
    return {target.rpartition(".")[0] for target, _ in calls(OmegaConf.to_container(config, resolve=True))}


def modules_of(command: str, composed: Compose) -> set[str]:
    """Return what a stage's command imports at first hand: its module, and what its config names."""
    modules = {f"advforensics.{command}"}
    chosen = [[f"defense={name}"] for name in PIPELINE["train"]["matrix"]["defense"]] if command == "train" else [[]]
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
    command = PIPELINE[stage]["cmd"].split()[1]
    found = needed(modules_of(command, composed))
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
    chain = needed({"advforensics.attacks.lattice"})
    attacks = ("lattice", "attackable", "losses", "random_state", "threat_model")
    assert chain == {f"advforensics/attacks/{name}.py" for name in attacks} | {"advforensics/detectors/device.py"}
    module = tmp_path / "module.py"
    module.write_text(
        "import a.b\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import c\n\ndef f():\n    import d\n"
    )
    assert {"a.b", "d"} <= set(imported(module))
    assert "c" not in set(imported(module))
