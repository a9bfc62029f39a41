"""What the pattern noise of sensors tells: ``python -m experiments.camera.prnu [SCENES] > FILE``.

The classical way to tell cameras apart (Lukas, Fridrich, Goljan 2006; Chen, Fridrich, Goljan, Lukas, "Determining Image
Origin and Integrity Using Sensor Noise", 2008), on the pictures of ``source=cameras``, so that a network's figure has
something to stand beside. The residual of a picture is what a wavelet filter takes away (Mihcak, Kozintsev,
Ramchandran, "Spatially Adaptive Statistical Modeling of Wavelet Image Coefficients and Its Application to Denoising",
1999); a device's pattern is estimated from its training pictures, and a test picture is given to the device with which
it correlates most, and to that device's model. ``right_model_unseen`` is the model of the best of all *other*
devices: what the pattern tells of a device that it has never seen.
"""

import csv
import sys
from itertools import product

import numpy as np
import pywt
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from tqdm import tqdm

from advforensics.cli.main import config_dir
from advforensics.sources.base import Picture, Source

Plane = NDArray[np.float32]
NOISE = 3.0  # levels, standard deviation that the filter takes for noise
WINDOWS = (3, 5, 7, 9)
TEST = 0.25  # of the scenes


def residual(green: Plane) -> Plane:
    """Return what a wavelet filter takes for noise in ``(H, W)``, in levels."""
    bands = pywt.wavedec2(green, "db4", level=4, mode="periodization")
    noise = [np.zeros_like(bands[0])]
    for details in bands[1:]:
        kept = []
        for band in details:
            energy = np.min([uniform_filter(band**2, window) for window in WINDOWS], axis=0)
            signal = np.maximum(energy - NOISE**2, 0)
            kept.append(band * NOISE**2 / (signal + NOISE**2))
        noise.append(tuple(kept))
    found = pywt.waverec2(noise, "db4", mode="periodization")
    # Rows and columns that all devices of a model share (mosaic, JPEG blocks) are no pattern of a device.
    found -= found.mean(axis=0, keepdims=True)
    return np.asarray(found - found.mean(axis=1, keepdims=True), np.float32)


def correlation(one: Plane, other: Plane) -> float:
    """Return the normalised correlation of two planes."""
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def patterns(source: Source, scenes: range, devices: int) -> tuple[list[str], list[str], list[Plane]]:
    """Return names, models and estimated patterns of all devices."""
    names, models, found = [], [], []
    for device in tqdm(range(devices), "patterns", disable=None):
        above = below = None
        for scene in scenes:
            picture = source.read(scene * devices + device)
            assert isinstance(picture, Picture)
            green = picture.pixels[..., 1].astype(np.float32)
            weighted = residual(green) * green
            above = weighted if above is None else above + weighted
            below = green**2 if below is None else below + green**2
        assert picture.annotation.device is not None
        assert above is not None
        assert below is not None
        names.append(picture.annotation.device)
        models.append(str(picture.annotation.source_class))
        found.append(np.asarray(above / (below + 1), np.float32))
    return names, models, found


def main(scenes: int) -> None:
    """Write a row for each test picture."""
    with initialize_config_dir(str(config_dir()), version_base=None):
        cfg = compose("prepare", ["source=cameras", f"source.scenes.number={scenes}"])
    source: Source = instantiate(cfg.source, _convert_="all")
    devices = len(source) // scenes
    training = range(round((1 - TEST) * scenes))
    names, models, found = patterns(source, training, devices)
    table = csv.writer(sys.stdout)
    table.writerow(["scene", "device", "said", "right_device", "right_model", "right_model_unseen", "correlation"])
    for scene, device in tqdm(list(product(range(len(training), scenes), range(devices))), "pictures", disable=None):
        picture = source.read(scene * devices + device)
        assert isinstance(picture, Picture)
        green = picture.pixels[..., 1].astype(np.float32)
        noise = residual(green)
        scores = [correlation(noise, green * pattern) for pattern in found]
        best = int(np.argmax(scores))
        other = int(np.argmax([-1 if index == device else score for index, score in enumerate(scores)]))
        right = [int(best == device), *(int(models[said] == picture.annotation.source_class) for said in (best, other))]
        table.writerow([scene, names[device], names[best], *right, f"{scores[best]:.4f}"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
