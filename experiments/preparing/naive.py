"""The loop one would write first: ``python -m experiments.preparing.naive FOLDER FILE``.

Pillow's nearest to each of the eight operations, on the whole picture; 48 random patches of 64 pixels of each. No
splits, no manifest, no look at what is cut, no audit, and all patches in memory.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

PATCHES, SIZE = 48, 64


def versions(picture: Image.Image, rng: np.random.Generator) -> list[Image.Image]:
    """Return a picture as it is and as each operation leaves it."""
    pixels = np.asarray(picture)
    noisy = pixels + rng.normal(0, rng.uniform(5, 10), pixels.shape)
    scale = rng.uniform(1.4, 2.0)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(50, 76)))
    return [
        picture,
        picture.filter(ImageFilter.MedianFilter(5)),
        picture.filter(ImageFilter.GaussianBlur(rng.uniform(1, 2))),
        Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)),
        picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BILINEAR),
        Image.open(file),
        picture.filter(ImageFilter.SHARPEN),
        ImageEnhance.Contrast(picture).enhance(rng.uniform(2, 3)),
    ]


def main(folder: Path, file: Path) -> None:
    """Cut every picture of a folder into one array ``(N, 64, 64)``."""
    rng, patches = np.random.default_rng(0), []
    for path in sorted(folder.iterdir()):
        for version in versions(Image.open(path).convert("RGB"), rng):
            pixels = np.asarray(version)
            for _ in range(PATCHES):
                y, x = rng.integers(pixels.shape[0] - SIZE + 1), rng.integers(pixels.shape[1] - SIZE + 1)
                patches.append(pixels[y : y + SIZE, x : x + SIZE, 1].copy())
    np.save(file, np.stack(patches))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
