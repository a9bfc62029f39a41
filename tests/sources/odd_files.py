"""Pictures as people have them: good, unusual and broken files, made from a few bytes."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

SIZE = (14, 10)  # width and height, unless the size is what is odd


def noise(channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> NDArray[Any]:
    """Return random pixels over the whole range of ``dtype``, shape (10, 14) or (10, 14, channels)."""
    shape = SIZE[::-1] if channels == 1 else (*SIZE[::-1], channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(image: Image.Image, kind: str, orientation: int, **options: Any) -> bytes:
    """Return a file with an EXIF orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return saved(image, kind, exif=exif, **options)


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return one chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(pixels: NDArray[Any], *extra: bytes, width: int | None = None, height: int | None = None) -> bytes:
    """Return a PNG of 8 or 16 bits with 1 to 4 channels; ``width`` and ``height`` give its header another size."""
    rows = pixels if pixels.ndim == 3 else pixels[..., None]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[rows.shape[2]]
    header = struct.pack(
        ">IIBBBBB", width or rows.shape[1], height or rows.shape[0], 8 * rows.itemsize, colour_type, 0, 0, 0
    )
    body = b"".join(b"\0" + row.astype(rows.dtype.newbyteorder(">")).tobytes() for row in rows)
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zlib.compress(body)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    pixels: NDArray[Any],
    photometric: int,
    order: Literal["<", ">"] = "<",
    orientation: int = 1,
    subfile: int = 0,
    alpha: bool = False,
) -> bytes:
    """Return an uncompressed TIFF of any sample type; ``order`` is the byte order, as in :mod:`struct`."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    sample_format = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tail_start = 8 + len(body)
    tail = b""
    short, long = 3, 4
    entries = []
    for tag, kind, values in [
        (254, long, [subfile]),
        (256, long, [pixels.shape[1]]),
        (257, long, [pixels.shape[0]]),
        (258, short, [8 * pixels.itemsize] * samples),
        (259, short, [1]),
        (262, short, [photometric]),
        (273, long, [8]),
        (274, short, [orientation]),
        (277, short, [samples]),
        (278, long, [pixels.shape[0]]),
        (279, long, [len(body)]),
        (284, short, [1]),
        *([(338, short, [2])] if alpha else []),
        (339, short, [sample_format] * samples),
    ]:
        packed = struct.pack(order + ("H" if kind == short else "I") * len(values), *values)
        if len(packed) > 4:
            offset = struct.pack(order + "I", tail_start + len(tail))
            tail += packed
            packed = offset
        entries.append(struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", tail_start + len(tail)) + body + tail + directory


def write_odd_files(folder: Path) -> dict[str, str | None]:
    """Fill a folder for ``Photos(folder, min_size=8)``.

    Returns:
        The names of all candidates in order, with the beginning of the reason for rejection; ``None`` for a picture.
    """
    rgb = Image.fromarray(noise())
    jpeg = saved(rgb.resize((60, 40)), "JPEG", quality=95)
    progressive = saved(rgb.resize((60, 40)), "JPEG", progressive=True)
    good = saved(rgb, "PNG")
    first_frame, second_frame = Image.fromarray(noise(seed=1)), Image.fromarray(noise(seed=2))
    deep_rgba = np.dstack([noise(3, np.uint16), noise(1, np.uint16)])
    files: dict[str, tuple[bytes, str | None]] = {
        # Accepted.
        "good/animated.webp": (saved(first_frame, "WEBP", save_all=True, append_images=[second_frame]), None),
        "good/black-and-white.png": (saved(rgb.convert("1"), "PNG"), None),
        "good/cmyk.jpg": (saved(rgb.convert("CMYK"), "JPEG"), None),
        "good/cmyk.tif": (saved(rgb.convert("CMYK"), "TIFF"), None),
        "good/deep/grey-alpha.png": (png(noise(2, np.uint16)), None),
        "good/deep/grey.png": (png(noise(1, np.uint16)), None),
        "good/deep/grey.tif": (tiff(noise(1, np.uint16), 1), None),
        "good/deep/rgb.png": (png(noise(3, np.uint16)), None),
        "good/deep/rgb.tif": (tiff(noise(3, np.uint16), 2, ">"), None),
        "good/deep/rgba.tif": (tiff(deep_rgba, 2, alpha=True), None),
        "good/grey-alpha.png": (saved(Image.fromarray(noise(2)), "PNG"), None),
        "good/grey.jpg": (saved(rgb.convert("L"), "JPEG"), None),
        "good/misnamed.txt": (saved(first_frame, "JPEG"), None),
        "good/no-ending": (saved(second_frame, "BMP"), None),
        "good/palette.png": (saved(rgb.quantize(16), "PNG", transparency=b"\0\x80\xff"), None),
        "good/progressive.JPG": (progressive, None),
        "good/trailer.jpg": (jpeg + b"data that some phones append" * 9, None),
        "good/turned.jpg": (oriented(rgb, "JPEG", 6), None),
        "good/two-pictures.mpo": (saved(first_frame, "MPO", save_all=True, append_images=[second_frame]), None),
        "good/ümläut \n.png": (saved(rgb.rotate(180), "PNG"), None),
        # Rejected.
        "odd/absurdly-large.png": (png(noise(), width=60_000, height=50_000), "too large: 60000 x 50000 pixels"),
        "odd/bad-checksum.png": (good[:-13] + bytes([good[-13] ^ 1]) + good[-12:], "damaged or truncated PNG"),
        "odd/cmyk-16-bit.tif": (tiff(noise(4, np.uint16), 5), "unsupported pixels: 16 bits, mode CMYK"),
        "odd/empty.jpg": (b"", "empty file"),
        "odd/float.tif": (tiff(noise(1).astype(np.float32), 1), "unsupported pixels: 32 bits, mode F"),
        "odd/float-rgb.tif": (tiff(noise().astype(np.float32), 2), "damaged, truncated or unsupported TIFF"),
        "odd/header-only.jpg": (jpeg[:30], "damaged or truncated JPEG"),
        "odd/integer.tif": (tiff(noise(1).astype(np.int32), 1), "unsupported pixels: 32 bits, mode I"),
        "odd/lab.tif": (tiff(noise(), 8), "unsupported pixels: 8 bits, mode LAB"),
        "odd/narrow.png": (saved(rgb.resize((200, 7)), "PNG"), "too small: 200 x 7 pixels"),
        "odd/not-an-image.jpg": (b"a letter that someone called .jpg", "not an image"),
        "odd/film.mp4": (b"\0\0\0\x18ftypmp42" + bytes(2000), "not an image"),
        "odd/raw-preview.nef": (tiff(noise(), 2, subfile=1), "reduced preview"),
        "odd/SOURCES.tsv": (b"file\tlicence\n", "not an image"),
        "odd/signed.tif": (tiff(noise(1).astype(np.int16), 1), "unsupported pixels: 16 bits, mode I"),
        "odd/signature-only.png": (good[:8], "damaged, truncated or unsupported PNG"),
        "odd/truncated.bmp": (saved(rgb, "BMP")[:-50], "damaged or truncated BMP"),
        "odd/truncated.jpg": (jpeg[: len(jpeg) // 2], "damaged or truncated JPEG"),
        "odd/truncated.png": (good[: len(good) // 2], "damaged or truncated PNG"),
        "odd/truncated.tif": (saved(rgb, "TIFF")[:-50], "damaged or truncated TIFF"),
        "odd/truncated.webp": (saved(rgb, "WEBP")[:-10], "damaged or truncated WEBP"),
        "odd/truncated-16-bit.png": (png(noise(3, np.uint16))[:-60], "damaged or truncated PNG"),
        "odd/truncated-progressive.jpg": (progressive[: len(progressive) // 2], "damaged or truncated JPEG"),
        "odd/without-its-last-byte.jpg": (jpeg[:-1], "damaged or truncated JPEG"),
        "odd/without-its-end.png": (good[:-12], "damaged or truncated PNG"),
        "odd/zeros-from-the-middle.jpg": (
            jpeg[: len(jpeg) // 2] + bytes(len(jpeg)),
            "damaged or truncated JPEG: it has",
        ),
        "odd/zeros.jpg": (bytes(5000), "not an image"),
        "zz-copy.mpo": (jpeg + b"data that some phones append" * 9, "duplicate of good/trailer.jpg"),
        # Skipped.
        ".hidden.png": (good, None),
        ".thumbnails/small.png": (good, None),
    }
    for name, (content, _) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "odd/broken-link.jpg").symlink_to("nowhere.jpg")
    (folder / "odd/loop").symlink_to("..", target_is_directory=True)
    (folder / "odd/itself.jpg").symlink_to("itself.jpg")
    (folder / "zz-link.png").symlink_to("good/deep/rgb.png")
    expected = {name: reason for name, (_, reason) in files.items() if not name.startswith(".")} | {
        "odd/broken-link.jpg": "broken link",
        "odd/loop": "link to a folder",
        "odd/itself.jpg": "cannot be read: Too many levels of symbolic links",
        "zz-link.png": "duplicate of good/deep/rgb.png",
    }
    return dict(sorted(expected.items()))
