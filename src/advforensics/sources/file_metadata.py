"""File metadata: what a file says about its picture without being decoded."""

import hashlib
import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from advforensics.sources.base import FileMetadata


def read_file_metadata(image: Image.Image, length: int) -> FileMetadata:
    """Return format, size and EXIF of a file that Pillow has opened, of ``length`` bytes.

    ``quality`` is that of the IJG library whose luminance table is nearest to the file's (1 to 100, 0 if it is no
    JPEG); ``tables`` a short hash of the quantisation tables; ``make``, ``model``, ``software`` and ``taken`` come from
    EXIF and are empty if it lacks them.
    """
    exif = image.getexif()
    tables = getattr(image, "quantization", None) or {}
    return {
        "format": "JPEG" if image.format == "MPO" else str(image.format),  # MPO: several JPEGs in one file
        "width": image.width,
        "height": image.height,
        "bytes": length,
        "quality": int(np.abs(_luminance_tables() - tables[0]).sum(axis=1).argmin()) + 1 if 0 in tables else 0,
        "tables": hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8] if tables else "",
        "exif": float(len(exif) > 0),
        "make": _text(exif, ExifTags.Base.Make),
        "model": _text(exif, ExifTags.Base.Model),
        "software": _text(exif, ExifTags.Base.Software),
        "taken": _text(exif.get_ifd(ExifTags.IFD.Exif), ExifTags.Base.DateTimeOriginal),
    }


def ijg_tables(quality: int) -> NDArray[np.int64]:
    """Return the quantisation tables of the IJG library, of brightness and colour: ``(2, 64)``, row by row."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization  # type: ignore[attr-defined]  # of a JPEG file
    return np.array([tables[0], tables[1]])


@cache
def _luminance_tables() -> NDArray[np.int64]:
    """Return the luminance tables of the IJG library for qualities 1 to 100, ``(100, 64)``."""
    return np.stack([ijg_tables(quality)[0] for quality in range(1, 101)])


def _text(tags: Image.Exif | dict[int, object], tag: int) -> str:
    return str(tags.get(tag, "")).partition("\0")[0].strip()  # a NUL ends EXIF text; padding may follow
