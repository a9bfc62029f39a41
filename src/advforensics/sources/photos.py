"""Photographs in a folder: each file becomes upright 8-bit RGB, or a rejection that says why not."""

import hashlib
import inspect
import io
import os
import stat
from collections import Counter
from collections.abc import Set
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from advforensics.sources.base import Annotation, Picture, Rejection, Source, UnusableError
from advforensics.sources.decoding import decode, open_image
from advforensics.sources.file_metadata import read_file_metadata
from advforensics.sources.layouts.base import Layout
from advforensics.sources.licences import read_licences


class Photos(Source):
    """The photographs below a folder, at any depth, sorted by path.

    It reads JPEG, PNG, TIFF, WebP and BMP: up to 8 bits as black and white, grey, palette, RGB, CMYK or YCbCr; 16 bits
    as grey or RGB. Every picture becomes upright ``uint8`` RGB:

    * The EXIF orientation is applied.
    * An alpha channel is dropped and the colours stay as stored: blending them with a background would make pixel
      values that no camera wrote.
    * 16 bits become 8 by rounding ``value / 257``.
    * Colour profiles are ignored, and CMYK is converted by the plain formula.
    * Of several frames (pages, animations, a phone's previews) the first is the photograph.

    Hidden files and folders (names that begin with a dot) are skipped. Links to files are followed, links to folders
    are rejected. A file whose damage no decoder notices, such as a broken JPEG with a valid end marker, is accepted.

    Args:
        folder: Where the photographs are.
        min_size: Smallest side in pixels; a smaller picture does not hold one patch.
        max_pixels: Largest width times height. It is compared with the header, so a larger picture is never decoded.
        layout: Reads annotations from paths; ``None`` for no annotations.
        licences: Table of the files' licences, or ``None``; see :mod:`.licences`.
        only: Name of the only file to take, which lies in ``folder`` itself; ``None`` for all.

    Attributes:
        names: Path of each file below the folder, in order.
        annotations: What the layout says of each, or why it leaves it out.

    Raises:
        FileNotFoundError: ``folder`` does not exist or holds no file, no file lies where ``layout`` expects one (the
            message shows the expected tree), or ``licences`` does not exist.
        NotADirectoryError: ``folder`` is a file.
        PermissionError: ``folder`` cannot be listed.
        ValueError: ``min_size`` and ``max_pixels`` let no picture pass, or ``licences`` is no such table.
    """

    def __init__(
        self,
        folder: str | Path,
        min_size: int,
        max_pixels: int = 200_000_000,
        layout: Layout | None = None,
        licences: str | Path | None = None,
        only: str | None = None,
    ) -> None:
        if min_size < 1 or max_pixels < min_size**2:
            raise ValueError(
                f"source.min_size={min_size} and source.max_pixels={max_pixels} let no picture pass. Give a min_size of"
                " 1 or more and a max_pixels of at least its square"
            )
        self.folder = Path(folder)
        self.min_size = min_size
        self.max_pixels = max_pixels
        self.layout = layout
        files = _list_files(self.folder) if only is None else {only: self.folder / only}
        self._files, self.names = list(files.items()), list(files)
        self._licences = read_licences(self.folder, self.names, Path(licences) if licences is not None else None)
        self.annotations = [
            layout.annotate_path(PurePosixPath(name)) if layout else Annotation() for name in self.names
        ]
        if layout and not any(isinstance(annotation, Annotation) for annotation in self.annotations):
            reasons = Counter(map(str, self.annotations)).most_common(3)
            raise FileNotFoundError(
                f"none of the {len(self.names)} files in {self.folder.absolute()} lies where source.layout expects one"
                f" ({'; '.join(f'{count} {reason}' for reason, count in reasons)}). Expected:\n{inspect.getdoc(layout)}"
            )

    def __len__(self) -> int:
        return len(self._files)

    @property
    def identity(self) -> str:
        """Hash of the limits and of each file's name, size, time of change, annotation and licence."""
        facts = [f"{self.min_size} {self.max_pixels}"]
        for (name, path), annotation in zip(self._files, self.annotations, strict=True):
            facts += [repr(annotation), repr(self._licences.get(name))]
            try:
                status = path.stat()
            except OSError:  # a broken link
                facts.append(name)
            else:
                facts.append(f"{name} {status.st_size} {status.st_mtime_ns}")
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()

    @property
    def own_splits(self) -> Set[str | None]:
        """Own splits of the data set that the layout finds."""
        return {annotation.own_split for annotation in self.annotations if isinstance(annotation, Annotation)}

    def read(self, index: int) -> Picture | Rejection:
        """Return the picture in file number ``index``, in the order of names, or why it gives none."""
        (name, path), annotation = self._files[index], self.annotations[index]
        if isinstance(annotation, str):
            return Rejection(name, annotation)
        try:
            data = self._read_bytes(path)
            pixels = decode(data)
            with open_image(io.BytesIO(data)) as image:
                file_metadata = read_file_metadata(image, len(data))
        except UnusableError as error:
            return Rejection(name, str(error))
        complete = self.layout.add_metadata(annotation, file_metadata) if self.layout else annotation
        if isinstance(complete, str):
            return Rejection(name, complete)
        content = hashlib.sha256(data).hexdigest()
        return Picture(name, content, pixels, complete, file_metadata, self._licences.get(name))

    def _read_bytes(self, path: Path) -> bytes:
        """Return the content of a file, if its header is that of a usable picture."""
        try:
            with path.open("rb") as file:
                self._check_header(file)  # before reading all: a film or a huge picture must not fill the memory
                file.seek(0)
                return file.read()
        except FileNotFoundError as error:
            raise UnusableError("broken link" if path.is_symlink() else "no longer there") from error
        except IsADirectoryError as error:
            raise UnusableError("link to a folder: not followed") from error
        except OSError as error:
            raise UnusableError(f"cannot be read: {error.strerror}") from error

    def _check_header(self, file: BinaryIO) -> None:
        with open_image(file) as image:
            width, height = image.size
        if min(width, height) < self.min_size:
            raise UnusableError(f"too small: {width} x {height} pixels, one patch is {self.min_size} x {self.min_size}")
        if width * height > self.max_pixels:
            raise UnusableError(f"too large: {width} x {height} pixels, source.max_pixels is {self.max_pixels}")


def photos_at(path: Path) -> Photos:
    """Return a single picture, or the pictures of a folder, of any size.

    Raises:
        FileNotFoundError: If there is neither, or the folder is empty.
    """
    if path.is_file():
        return Photos(path.parent, min_size=1, only=path.name)
    if not path.exists():
        raise FileNotFoundError(f"there is no picture and no folder {path.absolute()}: give picture=PATH")
    return Photos(path, min_size=1)


def _list_files(folder: Path) -> dict[str, Path]:
    """Return every file and every link below ``folder`` by name, sorted by name."""
    if not folder.exists():
        raise FileNotFoundError(f"photos: there is no folder {folder.absolute()}. Give one that holds photographs.")
    if not folder.is_dir():
        raise NotADirectoryError(f"photos: {folder.absolute()} is a file. Give the folder that it lies in.")
    found: list[Path] = []

    def keep_unlistable(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise error
        found.append(Path(error.filename))  # reading it will give the reason of its rejection

    for parent, folders, files in os.walk(folder, onerror=keep_unlistable):
        here = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".")]
        # os.walk does not follow links to folders, which could form a loop.
        found += [here / name for name in folders if (here / name).is_symlink()]
        found += [here / name for name in files if not name.startswith(".") and not _is_special(here / name)]
    if not found:
        raise FileNotFoundError(f"photos: {folder.absolute()} holds no file. Put photographs into it, at any depth.")
    # Bytes of a name that are not text are escaped, so that a table can hold it.
    names = (path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode() for path in found)
    return dict(sorted(zip(names, found, strict=True)))


def _is_special(path: Path) -> bool:
    """Return whether this is a pipe, a socket or a device, which could block a reader for ever."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # a broken link, for one: it is kept, so that it is listed as rejected
