"""Which modules of this package run when some of them are imported, told from their source alone."""

import ast
import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from advforensics.persistence.provenance import PACKAGE, sha256

SOURCE = PACKAGE.parent
# What records a run, starts jobs or lets a killed one go on changes no result; nor does what only these import.
NEUTRAL = (
    *(f"{PACKAGE.name}/{room}/" for room in ("tracking", "cli")),
    *(f"{PACKAGE.name}/persistence/{name}.py" for name in ("atomic", "imports", "provenance", "unfinished")),
)


@cache
def imports_digest(modules: frozenset[str]) -> str:
    """Return a SHA-256 (hex) of the code that can change what these modules compute, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(needed(modules, NEUTRAL)):
        digest.update(f"{path} {sha256(SOURCE / path)}\n".encode())
    return digest.hexdigest()


def needed(modules: Collection[str], neutral: tuple[str, ...]) -> set[str]:
    """Return the files that run when modules are imported, as paths below the folder of this package.

    Args:
        modules: With dots. Those of other packages are left out.
        neutral: Beginnings of the paths that are not followed.
    """
    waiting, seen = list(modules), set[Path]()
    while waiting:
        for file in files_of(waiting.pop()):
            if file not in seen and not file.relative_to(SOURCE).as_posix().startswith(neutral):
                seen.add(file)
                waiting += imported(file)
    return {file.relative_to(SOURCE).as_posix() for file in seen if has_code(file)}


def files_of(module: str) -> Iterator[Path]:
    """Yield the files that importing a module of ours runs, with the packages around it; none for an attribute."""
    parts = module.split(".")
    path = SOURCE.joinpath(*parts)
    if parts[0] != PACKAGE.name or not (path.is_dir() or path.with_suffix(".py").is_file()):
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


def has_code(file: Path) -> bool:
    """Tell whether a file holds more than a docstring, as most packages' own do not."""
    return len(ast.parse(file.read_text()).body) > 1
