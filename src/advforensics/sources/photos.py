"""Photographs in a folder, whatever it holds: each becomes upright 8-bit RGB, or a rejection that says why not."""

import hashlib
import io
import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from advforensics.sources.base import Belonging, Picture, Rejection, Source, UnusableError
from advforensics.sources.facts import facts
from advforensics.sources.layouts.base import Layout
from advforensics.sources.licences import licences as licences_of

# The kind of a file is told by its first bytes, never by its name.
_SIGNATURE_LENGTH = 12
_SIGNATURE = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<TIFF>II[*+]\0|MM\0[*+])"
    rb"|(?P<WEBP>RIFF.{4}WEBP)|(?P<BMP>BM.{4}\0{4})",
    re.DOTALL,
)
# In compressed data 0xFF is followed by 0x00 (a stuffed byte) or 0xD0-0xD7 (a restart); neither ends it.
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
_JPEG_END = b"\xff\xd9"
_PNG_BIT_DEPTH = 24  # offset in the file: IHDR always comes first
_MODES_8_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_MODES_16_BIT = {"I;16", "I;16B", "RGB", "RGBA"}  # Pillow's name for 16-bit colour does not tell its depth


class Photos(Source):
    """The photographs below a folder, at any depth, sorted by their paths.

    Read are JPEG, PNG, TIFF, WebP and BMP: with up to 8 bits black and white, grey, palette, RGB, CMYK and YCbCr;
    with 16 bits grey and RGB. Every picture leaves as ``uint8`` RGB, upright:

    * The EXIF orientation is applied.
    * An alpha channel is dropped and the colours stay as stored: blending them with a background would make pixel
      values that no camera wrote.
    * 16 bits become 8 by rounding ``value / 257``.
    * Colour profiles are not applied, and CMYK is converted by the plain formula.
    * Of several frames (pages, animations, the twin pictures of a phone) the first is the photograph.

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
        self._places = [layout.place(PurePosixPath(name)) if layout else Belonging() for name, _ in self._files]
        if layout and not any(isinstance(place, Belonging) for place in self._places):
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
        return {place.split for place in self._places if isinstance(place, Belonging)}

    def read(self, index: int) -> Picture | Rejection:
        """Return the picture in the file with that number, the files being sorted by name."""
        (name, path), place = self._files[index], self._places[index]
        if isinstance(place, str):
            return Rejection(name, place)
        try:
            data = self._content(path)
            pixels = _decode(data)
            with _opened(io.BytesIO(data)) as image:
                told = facts(image, len(data))
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
        with _opened(file) as image:
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


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Open a picture without decoding it; inside, decoders are quiet and what they raise becomes a reason."""
    start = file.read(_SIGNATURE_LENGTH)
    if not start:
        raise UnusableError("empty file")
    signature = _SIGNATURE.match(start)
    if signature is None or signature.lastgroup is None:
        raise UnusableError("not an image (JPEG, PNG, TIFF, WebP or BMP)")
    kind = signature.lastgroup
    file.seek(0)
    pixel_limit, log_level = Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel()
    try:
        Image.MAX_IMAGE_PIXELS = None  # max_pixels decides
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=[kind]) as image:
            yield image
    except (UnusableError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its own message is no more than an address in memory
        raise UnusableError(f"damaged, truncated or unsupported {kind}: its header cannot be understood") from error
    except Exception as error:  # a broken file can make a decoder raise anything, and must cost a row, not the run
        raise UnusableError(f"damaged or truncated {kind}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = pixel_limit
        cv2.utils.logging.setLogLevel(log_level)


def _decode(data: bytes) -> NDArray[np.uint8]:
    """Return the upright RGB pixels, shape (H, W, 3), of the whole of a file."""
    if data.startswith(b"\xff\xd8") and not _reaches_its_end(data):
        raise UnusableError("damaged or truncated JPEG: it has no end marker")
    with _opened(io.BytesIO(data)) as image:
        image.verify()  # the checksums of a PNG, which loading does not look at
    with _opened(io.BytesIO(data)) as image:
        image.load()
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        if tags.get(ExifTags.Base.NewSubfileType, 0) & 1:
            raise UnusableError("reduced preview in front of the picture (a raw file?): develop it first")
        bits = data[_PNG_BIT_DEPTH] if image.format == "PNG" else max(tags.get(ExifTags.Base.BitsPerSample, (8,)))
        if bits == 16 and image.mode in _MODES_16_BIT:
            white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
            deep = Image.fromarray(_decode_16_bit(data, white_is_zero))
            # Loading a TIFF turned it and forgot its orientation; OpenCV turns a TIFF too, and neither turns a PNG.
            deep.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
            return np.array(ImageOps.exif_transpose(deep))
        if bits > 8 or image.mode not in _MODES_8_BIT:
            raise UnusableError(f"unsupported pixels: {bits} bits, mode {image.mode}. Save it as 8 or 16 bit RGB")
        image.info.pop("transparency", None)  # of a palette, or one colour that stands for transparent
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _decode_16_bit(data: bytes, white_is_zero: bool) -> NDArray[np.uint8]:
    """Decode what Pillow would cut to its upper 8 bits; return (H, W, 3), RGB."""
    try:
        deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # refused rather than failed; the message is about OpenCV's own source code
        deep = None
    if deep is None or deep.dtype != np.uint16:
        raise UnusableError("damaged or unsupported 16 bit picture. Save it without compression, or as PNG")
    pixels: NDArray[np.uint8] = cv2.convertScaleAbs(deep, alpha=1 / 257)  # rounds
    if white_is_zero:
        pixels = 255 - pixels
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels[..., 2::-1].copy()  # BGR(A) to RGB


def _reaches_its_end(jpeg: bytes) -> bool:
    """Tell whether a JPEG has an end marker of its own, not that of a preview inside its header.

    Decoders are content when enough bytes follow. Of 47 photographs overwritten with zeros from 30, 70 or 90% on, as
    an interrupted copy may leave them, Pillow 12.3 reads 32 of the 141 without a word.
    """
    position = 2
    while (marker := _JPEG_MARKER.search(jpeg, position)) and marker[0] != _JPEG_END:
        after = marker.end()
        position = after + int.from_bytes(jpeg[after : after + 2])  # a segment says how long it is
    return marker is not None
