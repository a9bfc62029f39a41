"""Unfinished work on disk: a killed run goes on with it, if it would do the same work again."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advforensics.persistence.atomic import atomic
from advforensics.persistence.provenance import code_digest

log = logging.getLogger(__name__)
IDENTITY = "identity.json"
LISTED_CHANGES = 5  # in the message
NEUTRAL = ("threads", "tracking")  # keys of a config that change no result
_HELD: dict[Path, int] = {}  # folders that this process works in, open and locked, so that no other one deletes them
_HOLDING = Lock()  # of the threads of this process


def unfinished_folder(folder: Path, **identity: str | DictConfig) -> Path:
    """Return a folder for the unfinished work of a run, ``FOLDER-HASH``, created if need be.

    The hash is that of the identity, so several processes may share the folder, if what they write is atomic. Work of a
    run with another identity or another version of this package's code is deleted, unless a process still works in it;
    the log says what changed.

    Args:
        folder: Where, with the beginning of the name.
        **identity: All that determines the results, by name: hashes, other text, and composed configs, whose values are
            compared one by one, but for those of `NEUTRAL`.
    """
    current = {"code": code_digest()}
    for name, value in identity.items():
        content = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig) else value
        if isinstance(content, dict):
            content = {key: item for key, item in content.items() if key not in NEUTRAL}
        current |= {key: str(item) for key, item in flatten(content, name)}
    text = json.dumps(current, indent=1)
    own = folder.with_name(f"{folder.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")
    with _HOLDING:
        for gone in [path for path in _HELD if not path.is_dir()]:
            os.close(_HELD.pop(gone))
    for other in sorted({*folder.parent.glob(f"{folder.name}-*"), *folder.parent.glob(folder.name)} - {own}):
        _delete(other, current)
    own.mkdir(parents=True, exist_ok=True)
    with _HOLDING:
        if own not in _HELD:
            _HELD[own] = os.open(own, os.O_RDONLY)
            with suppress(OSError):  # a network file system may have no locks
                fcntl.flock(_HELD[own], fcntl.LOCK_SH)
    if not (own / IDENTITY).is_file():
        with atomic(own / IDENTITY) as temporary:
            temporary.write_text(text)
    return own


def _delete(folder: Path, current: dict[str, str]) -> None:
    """Delete work of another identity, and say what changed; another process may be doing the same."""
    if _alive(folder):
        log.warning("%s: another process works in it with other settings; it stays", folder)
        return
    path = folder / IDENTITY
    if path.is_file():
        previous = json.loads(path.read_text())
        changed = sorted(key for key in previous.keys() | current.keys() if previous.get(key) != current.get(key))
        listed = ", ".join(changed[:LISTED_CHANGES])
        more = f" and {len(changed) - LISTED_CHANGES} more" if len(changed) > LISTED_CHANGES else ""
        log.warning("%s: unfinished work is deleted, because these changed: %s%s", folder, listed, more)
    shutil.rmtree(folder, ignore_errors=True)


def _alive(folder: Path) -> bool:
    """Tell whether another process works in a folder. A network file system may not know; then none does."""
    with _HOLDING:
        if folder in _HELD:  # by an earlier run of this process
            os.close(_HELD.pop(folder))
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:  # another process has just deleted it
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


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
