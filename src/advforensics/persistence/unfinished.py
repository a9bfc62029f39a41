"""Unfinished work on disk: a run that was killed goes on with it, but only where it would do the same work again."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advforensics.persistence.atomic import atomic
from advforensics.persistence.provenance import code_digest

log = logging.getLogger(__name__)
IDENTITY = "identity.json"
NAMED = 5  # differences that a message names


def unfinished_folder(folder: Path, **identity: str | DictConfig) -> Path:
    """Return a folder for what a run has done so far, made if need be, and emptied if it holds the work of another run.

    Whatever determines the results of a run belongs to its identity. The code of this package always does. A message
    says when work is thrown away, and what has changed since.

    Args:
        folder: Where.
        **identity: What determines the results, by name: hashes, other text, and composed configs, whose values are
            compared one by one.
    """
    told = {"code": code_digest()}
    for name, value in identity.items():
        named = leaves(OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig) else value, name)
        told |= {leaf: str(content) for leaf, content in named}
    path = folder / IDENTITY
    found = json.loads(path.read_text()) if path.is_file() else None
    if found == told:
        return folder
    if found is not None:
        changed = sorted(name for name in found.keys() | told.keys() if found.get(name) != told.get(name))
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        log.warning("%s: unfinished work is thrown away, for %s%s changed", folder, ", ".join(changed[:NAMED]), more)
        path.unlink()  # first of all: a kill in the middle must not leave half of the work under its name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with atomic(path) as written:
        written.write_text(json.dumps(told, indent=1))
    return folder


def leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries under dotted names; a list is a leaf."""
    if not isinstance(node, dict):
        yield name, node
    else:
        for key, value in node.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
