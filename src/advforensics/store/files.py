"""Where the files of a patch store lie: in a folder, or at an address, from which they are copied when needed.

An address is what fsspec knows: ``s3://bucket/store`` and many more. Files that ``store.json`` lists come into a cache
on this machine, under the hash of their content. All processes share it, and what was used longest ago leaves it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from advforensics.persistence.atomic import atomic
from advforensics.persistence.provenance import sha256

CACHE = "ADVFORENSICS_CACHE"  # environment: the folder of the cache
CACHE_GIB = "ADVFORENSICS_CACHE_GIB"  # environment: what it may hold
GIB = 2**30


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

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        return (self.folder / name).read_bytes()

    def local(self, name: str) -> Path:
        """Return where a file can be opened."""
        return self.folder / name

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
        ValueError: If this kind of address is unknown or needs a package that is missing, a file is not what
            ``store.json`` says, or that does not list the files.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.most = int(float(os.environ.get(CACHE_GIB, 20)) * GIB)
        self._listed: dict[str, str] | None = None

    def __str__(self) -> str:
        return self.address

    def read(self, name: str) -> bytes:
        """Return the content of a small file, as it is now."""
        with self._open(name) as (system, path):
            content: bytes = system.cat_file(path)
        return content

    def local(self, name: str) -> Path:
        """Return where a listed file can be opened: a copy in the cache, which may leave it later."""
        if (digest := self.digests().get(name)) is None:
            raise ValueError(f"{self}/store.json lists no {name}")
        folder = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "advforensics")
        folder.mkdir(parents=True, exist_ok=True)
        cached = folder / f"{digest}{Path(name).suffix}"
        with FileLock(f"{cached}.lock"):  # another process may want it too
            if not cached.is_file():
                with self._open(name) as (system, path), atomic(cached) as unfinished:
                    system.get_file(path, str(unfinished))
                    if sha256(unfinished) != digest:
                        raise ValueError(
                            f"{self}/{name} is not the file that store.json lists: copy the whole store there again"
                        )
            os.utime(cached)
        self._make_room(folder, cached)
        return cached

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
                raise ValueError(
                    f"{self} is of an older version: run `advforensics prepare` again, and copy the store there"
                )
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
        """Delete what was used longest ago until the cache is within its bound; what is open stays readable."""
        found = []
        for path in folder.iterdir():
            if path.suffix in (".npy", ".parquet"):
                try:
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
                except FileNotFoundError:  # another process was quicker
                    continue
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.most:
                return
            if path != needed:
                path.unlink(missing_ok=True)
                total -= size


Files = Folder | Address


def files_at(place: str | Path) -> Files:
    """Return the files of a store in a folder or at an address."""
    return Address(str(place)) if "://" in str(place) else Folder(Path(place))
