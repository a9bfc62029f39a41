"""Unfinished work on disk: a killed run goes on with it, if it would do the same work again."""

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
LISTED_CHANGES = 5  # in the message


def unfinished_folder(folder: Path, **identity: str | DictConfig) -> Path:
    """Return a folder for the unfinished work of a run, created if need be.

    Work of a run with another identity or another version of this package's code is deleted; the log says what changed.

    Args:
        folder: Where.
        **identity: All that determines the results, by name: hashes, other text, and composed configs, whose values are
            compared one by one.
    """
    current = {"code": code_digest()}
    for name, value in identity.items():
        content = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig) else value
        current |= {key: str(item) for key, item in flatten(content, name)}
    path = folder / IDENTITY
    previous = json.loads(path.read_text()) if path.is_file() else None
    if previous == current:
        return folder
    if previous is not None:
        changed = sorted(key for key in previous.keys() | current.keys() if previous.get(key) != current.get(key))
        listed = ", ".join(changed[:LISTED_CHANGES])
        more = f" and {len(changed) - LISTED_CHANGES} more" if len(changed) > LISTED_CHANGES else ""
        log.warning("%s: unfinished work is deleted, because these changed: %s%s", folder, listed, more)
        path.unlink()  # before the rest: a kill in between must not leave part of the work with its identity
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(current, indent=1))
    return folder


def without(config: DictConfig, *keys: str) -> DictConfig:
    """Return a config without some of its keys: those that no result depends on."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key not in keys])


def flatten(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of all entries of nested dictionaries; a list is a value."""
    if not isinstance(node, dict):
        yield name, node
    else:
        for key, value in node.items():
            yield from flatten(value, f"{name}.{key}" if name else str(key))
