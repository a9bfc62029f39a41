"""Picture files: from whole levels to the bytes of a file, and back."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

COMPRESSION = 3  # of PNG, lossless at any: 7% larger than Pillow's default, and written in a quarter of the time


def whole_levels(picture: Tensor) -> NDArray[np.uint8]:
    """Return a picture ``(C, H, W)`` of whole levels as ``(H, W)`` or ``(H, W, 3)``.

    Raises:
        ValueError: If it has neither 1 nor 3 channels.
    """
    levels: NDArray[np.uint8] = (picture.detach().cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    if levels.shape[2] not in (1, 3):
        raise ValueError(f"files hold 1 or 3 channels, not {levels.shape[2]}: leave out the domains png and jpeg")
    return levels[..., 0] if levels.shape[2] == 1 else levels


def encoded(picture: Tensor, kind: str, quality: int | None = None, note: str | None = None) -> bytes:
    """Return the file of a picture ``(C, H, W)`` of whole levels; kind and quality are Pillow's, EXIF has the note."""
    stream = io.BytesIO()
    options = {"compress_level": COMPRESSION} if quality is None else {"quality": quality}
    exif = Image.Exif()
    if note is not None:
        exif[ExifTags.Base.ImageDescription] = note
    Image.fromarray(whole_levels(picture)).save(stream, format=kind, exif=exif, **options)
    return stream.getvalue()


def decoded(content: bytes) -> Tensor:
    """Return the picture in a file, ``(C, H, W)``, float in [0, 1]; C is 1 (grey) or 3 (RGB)."""
    with Image.open(io.BytesIO(content)) as opened:
        levels = np.array(opened)
    return torch.from_numpy(levels.reshape(*levels.shape[:2], -1)).permute(2, 0, 1).to(torch.float32) / 255


def reread(paths: Sequence[Path]) -> Tensor:
    """Return the pictures in files, ``(N, C, H, W)``."""
    return torch.stack([decoded(path.read_bytes()) for path in paths])
