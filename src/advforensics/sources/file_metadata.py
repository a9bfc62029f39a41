"""File metadata: what a file says about its picture without being decoded."""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from advforensics.sources.base import FileMetadata

# Luminance table of quality 50, ITU-T T.81 annex K, row by row.
_QUALITY_50 = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ]
)


def read_file_metadata(image: Image.Image, length: int) -> FileMetadata:
    """Return format, size and EXIF of a file.

    ``quality`` is the JPEG quality (1 to 100, 0 for other formats); ``tables`` a short hash of the quantisation tables;
    ``make``, ``model``, ``software`` and ``taken`` come from EXIF and are empty if it lacks them.

    Args:
        image: The file as Pillow has opened it.
        length: Length of the file in bytes.
    """
    exif = image.getexif()
    tables = getattr(image, "quantization", None) or {}
    return {
        "format": "JPEG" if image.format == "MPO" else str(image.format),  # MPO: several JPEGs in one file
        "width": image.width,
        "height": image.height,
        "bytes": length,
        "quality": jpeg_quality(np.array(tables[0])) if 0 in tables else 0,
        "tables": hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8] if tables else "",
        "exif": float(len(exif) > 0),
        "make": _text(exif, ExifTags.Base.Make),
        "model": _text(exif, ExifTags.Base.Model),
        "software": _text(exif, ExifTags.Base.Software),
        "taken": _text(exif.get_ifd(ExifTags.IFD.Exif), ExifTags.Base.DateTimeOriginal),
    }


def jpeg_quality(table: NDArray[np.integer]) -> int:
    """Return the quality of the IJG library whose luminance table is nearest to this one, ``(64,)``, row by row."""
    return int(np.abs(_luminance_tables() - table).sum(axis=1).argmin()) + 1


@cache
def _luminance_tables() -> NDArray[np.int64]:
    """Return the luminance tables of the IJG library for qualities 1 to 100, ``(100, 64)``."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: NDArray[np.int64] = np.clip((_QUALITY_50 * scale + 50) // 100, 1, 255)
    return tables


def _text(tags: Image.Exif | dict[int, object], tag: int) -> str:
    return str(tags.get(tag, "")).partition("\0")[0].strip()  # a NUL ends EXIF text; padding may follow
