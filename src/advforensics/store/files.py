"""Where the files of a patch store lie: in a folder, or at an address, from which they are copied when needed.

An address is what fsspec knows: ``s3://bucket/store`` and many more. Files that ``store.json`` lists come into a cache
on this machine, under the hash of their content. All processes share it, and what was used longest ago leaves it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from filelock import FileLock, Timeout

from advforensics.persistence.atomic import atomic
from advforensics.persistence.provenance import sha256

CACHE = "ADVFORENSICS_CACHE"  # environment: the folder of the cache
CACHE_GIB = "ADVFORENSICS_CACHE_GIB"  # environment: what it may hold
MIB, GIB = 2**20, 2**30
T = TypeVar("T")


class Folder:
    """The files of a store in a folder.

    Attributes:
        most: Bytes of patches that may be open at once; None for any number.
    """

    most: int | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def advice(self, when: str) -> str:
        """Return what to do for a store that is whole."""
        return f"run `advforensics prepare store={self}` {when}"

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        return (self.folder / name).read_bytes()

    def open(self, name: str, reader: Callable[[Path], T]) -> T:
        """Return what a reader makes of a file."""
        return reader(self.folder / name)

    def fetch(self, name: str) -> None:
        """Have the system keep a file in memory, so that what reads it here and there need not wait for the disk."""
        with (self.folder / name).open("rb") as stream:
            while stream.read(MIB):
                pass

    def names(self, pattern: str) -> list[str]:
        """Return the names of the files that match a pattern."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.glob(pattern))

    def learnt_from(self) -> list[str]:
        """Return the names of the files that a detector learns from, in order."""
        return sorted(["store.json", "manifest.parquet", *self.names("*.npy")])

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the files that a detector learns from, by name."""
        return {name: sha256(self.folder / name) for name in self.learnt_from()}


class Address:
    """The files of a store at an address that fsspec knows.

    Raises:
        OSError: If a file is missing or cannot be read; the message names it.
        ValueError: If the cache's bound is no number, this kind of address is unknown or needs a package that is
            missing, a file is not what ``store.json`` says, or that does not list the files.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        try:
            self.most = int(float(os.environ.get(CACHE_GIB, 20)) * GIB)
        except ValueError as error:
            raise ValueError(f"{CACHE_GIB}={os.environ[CACHE_GIB]}: give a number of GiB") from error
        self._listed: dict[str, str] | None = None

    def __str__(self) -> str:
        return self.address

    def advice(self, when: str) -> str:
        """Return what to do for a store that is whole."""
        return f"run `advforensics prepare store=FOLDER` {when}, and copy FOLDER to {self}"

    def read(self, name: str) -> bytes:
        """Return the content of a small file, as it is now."""
        with self._open(name) as (system, path):
            content: bytes = system.cat_file(path)
        return content

    def open(self, name: str, reader: Callable[[Path], T]) -> T:
        """Return what a reader makes of a listed file, copied into the cache; a memory map of it outlives the copy."""
        if (digest := self.digests().get(name)) is None:
            raise ValueError(f"{self}/store.json lists no {name}")
        folder = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "advforensics")
        folder.mkdir(parents=True, exist_ok=True)
        cached = folder / f"{digest}{Path(name).suffix}"
        with _lock(cached):  # another process may want it too, or want its room
            if not cached.is_file():
                with self._open(name) as (system, path), atomic(cached) as unfinished:
                    system.get_file(path, str(unfinished))
                    if sha256(unfinished) != digest:
                        raise ValueError(
                            f"{self}/{name} is not the file that store.json lists: copy the whole store there again"
                        )
            os.utime(cached)
            self._make_room(folder, cached)
            return reader(cached)

    def fetch(self, name: str) -> None:
        """Copy a listed file into the cache."""
        self.open(name, lambda path: None)

    def names(self, pattern: str) -> list[str]:
        """Return the names of the files that match a pattern."""
        with self._open(pattern) as (system, path):
            root = system._strip_protocol(self.address)
            return sorted(str(found).removeprefix(f"{root}/") for found in system.glob(path))

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the files that a detector learns from, by name: those that ``store.json`` lists."""
        if self._listed is None:
            content = self.read("store.json")
            listed = json.loads(content).get("files")
            if listed is None:
                raise ValueError(f"{self} is of an older version: {self.advice('again')}")
            self._listed = dict(sorted({**listed, "store.json": hashlib.sha256(content).hexdigest()}.items()))
        return self._listed

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path of a file in it; tell what went wrong with its address."""
        try:
            # Asked for each time: connections do not survive the fork of a worker, and fsspec knows that.
            system, root = fsspec.core.url_to_fs(self.address)
        except (ImportError, ValueError) as error:  # a package that is missing, a kind that nobody knows
            raise ValueError(f"store={self}: {error}; S3 needs pip install 'advforensics[s3]'") from error
        try:
            yield system, f"{root}/{name}"
        except ValueError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no {self}/{name}") from error
        except Exception as error:  # each kind of address has its own
            raise OSError(f"{self}/{name} cannot be read: {type(error).__name__}: {error}") from error

    def _make_room(self, folder: Path, needed: Path) -> None:
        """Delete what was used longest ago and nobody reads now, until the cache is within its bound."""
        found = []
        for path in folder.iterdir():
            if path.suffix in (".npy", ".parquet"):
                with suppress(FileNotFoundError):  # another process was quicker
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.most:
                return
            if path != needed:
                with suppress(Timeout), _lock(path).acquire(timeout=0):
                    path.unlink(missing_ok=True)
                    total -= size


def _lock(path: Path) -> FileLock:
    return FileLock(f"{path}.lock")


Files = Folder | Address


def files_at(place: str | Path) -> Files:
    """Return the files of a store in a folder or at an address."""
    return Address(str(place)) if "://" in str(place) else Folder(Path(place))
