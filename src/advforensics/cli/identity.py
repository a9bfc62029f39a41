"""What determines the result of a command, as a hash: two jobs of one identity end with the same files."""

import hashlib
import importlib.util
import json
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from advforensics.persistence.imports import imports_digest
from advforensics.persistence.provenance import PACKAGE, sha256
from advforensics.store.files import Address, Folder

NEUTRAL = ("accelerator", "devices", "force", "hydra", "threads", "tracking")  # keys of a config that change no result
DIGITS = 10  # of the hash
INSTALLED = {"site-packages", "dist-packages", Path(sysconfig.get_path("stdlib")).name}


def identity(command: str, cfg: DictConfig) -> str:
    """Return a hash of a command's config, of the files that it names, and of the code that it runs.

    Left out are tracking, threads and accelerator, which should not change a result, and the folder that it goes to. A
    patch store and any other file count by their content, wherever they lie.
    """
    settings = cfg.copy()
    with open_dict(settings):
        for key in NEUTRAL:
            settings.pop(key, None)
        settings.folder = "folder"  # which by default holds this hash
    content: Any = OmegaConf.to_container(settings, resolve=True)
    content.get("trainer", {}).pop("accelerator", None)
    if "://" in str(content.get("store")):
        content["store"] = list(Address(content["store"]).digests().values())
    if command == "audit":  # what lies in these folders may change under their names
        content["pictures"] = _listed(content["pictures"])
        content["target"]["path"] = _listed(content["target"].get("path"))
    modules = {f"advforensics.{command}", *(name.rpartition(".")[0] for name in _targets(content))}
    ours = frozenset(name for name in modules if name.partition(".")[0] == PACKAGE.name)
    known = {"code": imports_digest(ours), "own code": {name: _source(name) for name in modules - ours}}
    text = json.dumps({"config": _by_content(content), **known}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def job_folder(command: str, cfg: DictConfig) -> str:
    """Return the absolute folder of a command's results, where Hydra's log goes too."""
    if cfg.get("folder"):
        return str(Path(str(cfg.folder)).absolute())  # "1" is read as a number, which the command will refuse
    if command in ("sweep", "certify"):
        path, kind = cfg.target.get("path"), "certificate"
        if command == "sweep":
            kind = "sweep" if cfg.patches_per_picture == 1 else "pictures"
        if path:
            return str((Path(path).parent / kind).absolute())
    return str(Path("out", command).absolute())


def _targets(node: Any) -> Iterator[str]:
    """Yield every ``_target_`` in a container."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)


def _source(module: str) -> str:
    """Return a hash of a module that a user has written; nothing for one of an installed package, or no module."""
    for name in (module.partition(".")[0], module):  # the outer package first: to find a submodule imports that
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return ""
        path = Path(found.origin) if found and found.has_location and found.origin else None
        if path is None or path.suffix != ".py" or not INSTALLED.isdisjoint(path.parts):
            return ""
    return sha256(path) if path else ""


def _by_content(node: Any) -> Any:
    """Replace names of files, of patch stores and of folders of checkpoints by hashes of what they hold."""
    if isinstance(node, dict):
        return {str(key): _by_content(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_by_content(value) for value in node]
    try:
        path = Path(node) if isinstance(node, str) and node and Path(node).exists() else None
    except (OSError, ValueError):  # too long, or no path at all
        path = None
    if path is None:
        return node
    if path.is_file():
        files = [path]
    elif (path / "store.json").is_file():  # what `PatchStore.digest` takes, without its torch
        files = [path / name for name in Folder(path).learnt_from()]
    else:
        files = sorted(path.rglob("checkpoint.pt"))
    stats = [(file, file.stat()) for file in files if file.is_file()]
    hashes = [_sha256(file.absolute(), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return hashes or node


def _listed(path: Any) -> Any:
    """Return name, size and time of each file below a folder; anything else as it is."""
    folder = Path(str(path))
    if not folder.is_dir():
        return path
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [[str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Return the hash of a file, once as long as its size and time stay."""
    return sha256(path)


def register() -> None:
    """Let configs say ``${identity:COMMAND}`` and ``${job_folder:COMMAND}``."""
    for name, resolver in (("identity", identity), ("job_folder", job_folder)):

        def resolve(command: str, *, _root_: DictConfig, resolver: Any = resolver) -> str:
            return str(resolver(command, _root_))

        OmegaConf.register_new_resolver(name, resolve, replace=True)


register()
