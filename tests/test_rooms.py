"""The rooms of the package import each other in one direction, as the picture in CONTRIBUTING shows."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from advforensics.cli import main
from advforensics.cli.main import config_dir

PROJECT = config_dir().parent
PACKAGE = PROJECT / "src" / "advforensics"
COMMANDS = "commands"  # in the picture, the modules beside the rooms


def picture() -> dict[str, set[str]]:
    """Return, for each room, those that its arrows in CONTRIBUTING point at."""
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    (graph,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    arrows = {}
    for room, others in re.findall(r"^ +(\w+) --> ([\w &]+)$", graph, re.MULTILINE):
        arrows[room] = set(others.split(" & "))
    return arrows


def reachable(arrows: Mapping[str, set[str]], room: str) -> set[str]:
    """Return the rooms that a room may import: those that a chain of arrows leads to."""
    found: set[str] = set()
    waiting = list(arrows.get(room, ()))
    while waiting:
        if (other := waiting.pop()) not in found:
            found.add(other)
            waiting += arrows.get(other, ())
    return found


def room_of(path: Path, package: Path) -> str:
    parts = path.relative_to(package).parts
    return parts[0] if len(parts) > 1 else COMMANDS


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_ways(package: Path, arrows: Mapping[str, set[str]]) -> list[str]:
    """Return every import against the arrows, as `file imports module`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        room = room_of(path, package)
        allowed = reachable(arrows, room) | {room}
        for module in imported(path):
            if module.startswith("advforensics."):
                name = module.split(".")[1]
                other = name if (package / name).is_dir() else COMMANDS
                if other not in allowed:
                    found.append(f"{path.relative_to(package)} imports {module}")
    return found


def test_the_picture_has_every_room_and_no_circle() -> None:
    arrows = picture()
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(arrows) | set().union(*arrows.values()) == rooms | {COMMANDS}
    assert [room for room in arrows if room in reachable(arrows, room)] == []


def test_no_room_imports_against_an_arrow() -> None:
    assert wrong_ways(PACKAGE, picture()) == []


@pytest.mark.parametrize("planted", ["from advforensics.alarms import probes", "import advforensics.sweep"])
def test_an_import_against_an_arrow_is_found(planted: str, tmp_path: Path) -> None:
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    module = tmp_path / "statistics" / "curves.py"
    module.write_text(module.read_text() + f"\n\ndef late() -> None:\n    {planted}\n")
    (found,) = wrong_ways(tmp_path, picture())
    assert found.startswith("statistics/curves.py imports advforensics.")


def test_statistics_and_reporting_import_no_torch() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for room in ("statistics", "reporting")
        for path in PACKAGE.joinpath(room).rglob("*.py")
    ]
    heavy = ("torch", "pytorch_lightning", "mlflow")
    code = f"import sys, {', '.join(sorted(modules))}; sys.exit(', '.join(set(sys.modules) & set({heavy!r})) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_module_is_longer_than_250_lines_and_only_commands_lie_beside_the_rooms() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert [str(path) for path, length in lengths.items() if length > 250] == []
    beside = {path.stem for path in lengths if path.parent == PACKAGE and path.name != "__init__.py"}
    assert beside == {*main.COMMANDS, "assessment"}  # which is what two of them share
