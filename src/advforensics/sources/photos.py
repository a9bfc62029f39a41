"""Photographs in a folder, whatever it holds: each becomes upright 8-bit RGB, or a rejection that says why not."""

import hashlib
import io
import os
import stat
from collections import Counter
from collections.abc import Set
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from advforensics.sources.base import Annotation, Picture, Rejection, Source, UnusableError
from advforensics.sources.decoding import decode, opened
from advforensics.sources.file_metadata import read_file_metadata
from advforensics.sources.layouts.base import Layout
from advforensics.sources.licences import licences as licences_of


class Photos(Source):
    """The photographs below a folder, at any depth, sorted by their paths.

    Read are JPEG, PNG, TIFF, WebP and BMP: with up to 8 bits black and white, grey, palette, RGB, CMYK and YCbCr;
    with 16 bits grey and RGB. Every picture leaves as ``uint8`` RGB, upright:

    * The EXIF orientation is applied.
    * An alpha channel is dropped and the colours stay as stored: blending them with a background would make pixel
      values that no camera wrote.
    * 16 bits become 8 by rounding ``value / 257``.
    * Colour profiles are not applied, and CMYK is converted by the plain formula.
    * Of several frames (pages, animations, the example pictures of a phone) the first is the photograph.

    Files and folders whose name begins with a dot are passed over, and links to files are followed. Whatever else
    gives no picture is a rejection that says why; so is a link to a folder. Damage that still decodes, such as a broken
    JPEG closed with a valid end marker, goes unnoticed.

    Args:
        folder: Where the photographs are.
        min_size: Smallest side in pixels; a smaller picture does not hold one patch.
        max_pixels: Largest width times height. It is compared with the header, so a larger picture is never decoded.
        layout: Tells from paths what pictures are, or ``None`` where nobody asks.
        licences: Table of the files' licences; ``None`` for ``SOURCES.tsv`` in the folder, if there is one. See
            `advforensics.sources.licences`.

    Raises:
        FileNotFoundError: ``folder`` does not exist, holds no file, or none that lies as ``layout`` says; draws that.
            ``licences`` does not exist.
        NotADirectoryError: ``folder`` is a file.
        PermissionError: ``folder`` cannot be listed.
        ValueError: ``min_size`` is not positive, or ``max_pixels`` leaves no room for a picture of that size.
            ``licences`` is no such table.
    """

    def __init__(
        self,
        folder: str | Path,
        min_size: int,
        max_pixels: int = 200_000_000,
        layout: Layout | None = None,
        licences: str | Path | None = None,
    ) -> None:
        if min_size < 1 or max_pixels < min_size**2:
            raise ValueError(
                f"photos: min_size={min_size} with max_pixels={max_pixels} lets no picture pass. "
                "Give a min_size of 1 or more and a max_pixels of at least its square."
            )
        self.folder = Path(folder)
        self.min_size = min_size
        self.max_pixels = max_pixels
        self.layout = layout
        self._files = list(_candidates(self.folder).items())
        self._licences = licences_of(
            self.folder, [name for name, _ in self._files], Path(licences) if licences is not None else None
        )
        self._places = [layout.place(PurePosixPath(name)) if layout else Annotation() for name, _ in self._files]
        if layout and not any(isinstance(place, Annotation) for place in self._places):
            reasons = Counter(place for place in self._places if isinstance(place, str))
            told = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3))
            raise FileNotFoundError(
                f"none of the {len(self._files)} files in {self.folder.absolute()} lies where it should ({told})."
                f" Expected is\n{layout.drawn()}"
            )

    def __len__(self) -> int:
        """Return the number of files, of which some may be rejected."""
        return len(self._files)

    @property
    def identity(self) -> str:
        """Hash of the files' names, sizes and times of change, and of what is asked of them."""
        told = [f"{self.min_size} {self.max_pixels}"]
        for (name, path), place in zip(self._files, self._places, strict=True):
            told += [repr(place), repr(self._licences.get(name))]
            try:
                status = path.stat()
            except OSError:  # a broken link
                told.append(name)
            else:
                told.append(f"{name} {status.st_size} {status.st_mtime_ns}")
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    @property
    def own_splits(self) -> Set[str | None]:
        """Those in which the layout places any file."""
        return {place.own_split for place in self._places if isinstance(place, Annotation)}

    def read(self, index: int) -> Picture | Rejection:
        """Return the picture in the file with that number, the files being sorted by name."""
        (name, path), place = self._files[index], self._places[index]
        if isinstance(place, str):
            return Rejection(name, place)
        try:
            data = self._content(path)
            pixels = decode(data)
            with opened(io.BytesIO(data)) as image:
                told = read_file_metadata(image, len(data))
            refined = self.layout.refine(place, told) if self.layout else place
            if isinstance(refined, str):
                return Rejection(name, refined)
            content = hashlib.sha256(data).hexdigest()
            return Picture(name, content, pixels, refined, told, self._licences.get(name))
        except UnusableError as error:
            return Rejection(name, str(error))

    def _content(self, path: Path) -> bytes:
        """Return the bytes of a file that may be a picture."""
        try:
            with path.open("rb") as file:
                self._check_header(file)  # a film or a giant is turned away before it fills the memory
                file.seek(0)
                return file.read()
        except FileNotFoundError as error:
            raise UnusableError("broken link" if path.is_symlink() else "no longer there") from error
        except IsADirectoryError as error:
            raise UnusableError("link to a folder: not followed") from error
        except OSError as error:
            raise UnusableError(f"cannot be read: {error.strerror}") from error

    def _check_header(self, file: BinaryIO) -> None:
        with opened(file) as image:
            width, height = image.size
        if min(width, height) < self.min_size:
            raise UnusableError(f"too small: {width} x {height} pixels, one patch is {self.min_size} x {self.min_size}")
        if width * height > self.max_pixels:
            raise UnusableError(f"absurdly large: {width} x {height} pixels, the limit is {self.max_pixels} in all")


def _candidates(folder: Path) -> dict[str, Path]:
    """Return every file and every link below ``folder`` under its name, sorted by name."""
    if not folder.exists():
        raise FileNotFoundError(f"photos: there is no folder {folder.absolute()}. Give one that holds photographs.")
    if not folder.is_dir():
        raise NotADirectoryError(f"photos: {folder.absolute()} is a file. Give the folder that it lies in.")
    found: list[Path] = []

    def cannot_list(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise error
        found.append(Path(error.filename))  # its turn to be read will say why

    for where, folders, files in os.walk(folder, onerror=cannot_list):
        here = Path(where)
        folders[:] = [name for name in folders if not name.startswith(".")]
        # os.walk does not follow links to folders, so that no loop of links can catch it.
        found += [here / name for name in folders if (here / name).is_symlink()]
        found += [here / name for name in files if not name.startswith(".") and not _is_special(here / name)]
    if not found:
        raise FileNotFoundError(f"photos: {folder.absolute()} holds no file. Put photographs into it, at any depth.")
    return dict(sorted((_printable(path.relative_to(folder)), path) for path in found))


def _is_special(path: Path) -> bool:
    """Tell whether this is a pipe, a socket or a device, on which a reader would wait for ever."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # a broken link, for one: a candidate, so that it is reported


def _printable(path: Path) -> str:
    """Return a path with ``/`` between its parts and bytes that are no text escaped, or no table could hold it."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
