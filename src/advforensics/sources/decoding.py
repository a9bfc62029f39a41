"""Decoding: any file that Pillow or OpenCV reads becomes upright 8-bit RGB; for others, the reason why not."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from advforensics.sources.base import UnusableError

# The first bytes of a file decide its kind, never its name.
_SIGNATURE_LENGTH = 12
_SIGNATURE = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<TIFF>II[*+]\0|MM\0[*+])"
    rb"|(?P<WEBP>RIFF.{4}WEBP)|(?P<BMP>BM.{4}\0{4})",
    re.DOTALL,
)
# Inside compressed data 0xFF is followed by 0x00 (a stuffed byte) or 0xD0-0xD7 (a restart marker).
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
_JPEG_END = b"\xff\xd9"
_PNG_BIT_DEPTH = 24  # offset in the file: IHDR always comes first
_MODES_8_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_MODES_16_BIT = {"I;16", "I;16B", "RGB", "RGBA"}  # Pillow calls 16-bit colour RGB too


@contextmanager
def open_image(file: BinaryIO) -> Iterator[Image.Image]:
    """Open a picture without decoding it.

    Inside the block decoders print nothing, and any error they raise becomes an `UnusableError` with a reason.
    """
    start = file.read(_SIGNATURE_LENGTH)
    if not start:
        raise UnusableError("empty file")
    signature = _SIGNATURE.match(start)
    kind = signature and signature.lastgroup
    if not kind:
        raise UnusableError("not an image (JPEG, PNG, TIFF, WebP or BMP)")
    file.seek(0)
    pixel_limit, log_level = Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel()
    try:
        Image.MAX_IMAGE_PIXELS = None  # max_pixels decides
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=[kind]) as image:
            yield image
    except (UnusableError, MemoryError):
        raise
    except UnidentifiedImageError as error:  # its message holds only a memory address
        raise UnusableError(f"damaged, truncated or unsupported {kind}: its header cannot be read") from error
    except Exception as error:  # a broken file can make a decoder raise anything; the run must go on
        raise UnusableError(f"damaged or truncated {kind}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = pixel_limit
        cv2.utils.logging.setLogLevel(log_level)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the upright RGB pixels, shape (H, W, 3), of a file given as bytes."""
    if data.startswith(b"\xff\xd8") and not _has_end_marker(data):
        raise UnusableError("damaged or truncated JPEG: it has no end marker")
    with open_image(io.BytesIO(data)) as image:
        image.verify()  # checks a PNG's checksums, which load() ignores
    with open_image(io.BytesIO(data)) as image:
        image.load()
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        if tags.get(ExifTags.Base.NewSubfileType, 0) & 1:
            raise UnusableError("reduced preview in front of the picture (a raw file?): develop it first")
        bits = data[_PNG_BIT_DEPTH] if image.format == "PNG" else max(tags.get(ExifTags.Base.BitsPerSample, (8,)))
        if bits == 16 and image.mode in _MODES_16_BIT:
            white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
            rgb = Image.fromarray(_decode_16_bit(data, white_is_zero))
            # Pillow and OpenCV both rotate a TIFF as its orientation says, and Pillow then removes the tag.
            # Neither rotates a PNG.
            rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
            return np.array(ImageOps.exif_transpose(rgb))
        if bits > 8 or image.mode not in _MODES_8_BIT:
            raise UnusableError(f"unsupported pixels: {bits} bits, mode {image.mode}. Save it as 8 or 16 bit RGB")
        image.info.pop("transparency", None)  # transparent palette entries, or one transparent colour
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _decode_16_bit(data: bytes, white_is_zero: bool) -> NDArray[np.uint8]:
    """Decode 16 bits with OpenCV, since Pillow drops the lower 8; return (H, W, 3), RGB."""
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # its message only names a line of OpenCV's source code
        values = None
    if values is None or values.dtype != np.uint16:
        raise UnusableError("damaged or unsupported 16 bit picture. Save it without compression, or as PNG")
    pixels: NDArray[np.uint8] = cv2.convertScaleAbs(values, alpha=1 / 257)  # rounds
    if white_is_zero:
        pixels = 255 - pixels
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels[..., 2::-1].copy()  # BGR(A) to RGB


def _has_end_marker(jpeg: bytes) -> bool:
    """Return whether a JPEG has an end marker of its own; that of a preview in its header does not count.

    Decoders do not check this. An interrupted copy may leave zeros at the end: of 47 photographs overwritten with zeros
    from 30, 70 or 90% on, Pillow 12.3 reads 32 of the 141 files without an error.
    """
    position = 2
    while (marker := _JPEG_MARKER.search(jpeg, position)) and marker[0] != _JPEG_END:
        after = marker.end()
        position = after + int.from_bytes(jpeg[after : after + 2])  # a segment begins with its length
    return marker is not None
