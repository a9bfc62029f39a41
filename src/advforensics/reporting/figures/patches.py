"""The classes of a patch store: example patches and mean power spectra."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.figures.gallery import Floats, show_picture


@mpl.rc_context(style.PAPER | {"axes.grid": False})
def draw_contact_sheet(patches: Mapping[str, Floats]) -> Figure:
    """Draw patches in one row per class.

    Args:
        patches: By class, each ``(n, C, H, W)``, C 1 or 3, in [0, 1]; n may differ.
    """
    most = max(len(class_patches) for class_patches in patches.values())
    figure = Figure(figsize=(1.1 + 0.8 * most, 0.5 + 0.85 * len(patches)))
    grid = figure.subplots(len(patches), most, squeeze=False)
    for row, (name, class_patches) in zip(grid, patches.items(), strict=True):
        for axes, patch in zip(row, class_patches, strict=False):
            show_picture(axes, patch)
        for axes in row[len(class_patches) :]:
            axes.set_axis_off()
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    side = next(iter(patches.values())).shape[-1]
    style.footnote(
        figure, f"Patches of {side} pixels from training photographs, from different ones if there are enough."
    )
    return figure


@mpl.rc_context(style.PAPER | {"axes.grid": False})
def draw_mean_spectra(patches: Mapping[str, Floats]) -> Figure:
    """Draw the mean power spectrum of each class, and its difference from the mean over classes.

    Args:
        patches: By class, each ``(n, C, H, W)`` in [0, 1]; of three channels the second (green) is used.
    """
    spectra = {name: _spectrum(class_patches) for name, class_patches in patches.items()}
    mean = np.mean(list(spectra.values()), axis=0)
    low, high = (float(np.percentile(mean, percent)) for percent in (1, 99.5))
    limit = max(float(np.percentile(np.abs(spectrum - mean), 99)) for spectrum in spectra.values())
    figure = Figure(figsize=(0.9 + 1.25 * len(patches), 3.2))
    grid = figure.subplots(2, len(patches), squeeze=False)
    extent = (-0.5, 0.5, 0.5, -0.5)
    for column, (name, spectrum) in enumerate(spectra.items()):
        upper, lower = grid[:, column]
        spectrum_image = upper.imshow(spectrum, cmap="magma", vmin=low, vmax=high, extent=extent)
        difference_image = lower.imshow(spectrum - mean, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent)
        upper.set_title(name, fontsize=8.5)
        for axes in (upper, lower):
            axes.set(xticks=[-0.5, 0, 0.5] if axes is lower and column == 0 else [], yticks=[])
    grid[0, 0].set_ylabel("power, dB")
    grid[1, 0].set_ylabel("less mean, dB")
    figure.colorbar(spectrum_image, ax=grid[0], shrink=0.85)
    figure.colorbar(difference_image, ax=grid[1], shrink=0.85)
    counts = sorted({len(class_patches) for class_patches in patches.values()})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    style.footnote(
        figure, f"Means over {number} patches per class\n(green, Hann window). Cycles per pixel, 0 in the centre."
    )
    return figure


def _spectrum(patches: Floats) -> Floats:
    """Return the mean power of patches ``(n, C, H, W)`` in dB, ``(H, W)``, frequency 0 in the centre."""
    values = patches[:, 1 if patches.shape[1] == 3 else 0]
    values = values - values.mean(axis=(1, 2), keepdims=True)
    window = np.outer(np.hanning(values.shape[1]), np.hanning(values.shape[2]))
    power = (np.abs(np.fft.fft2(values * window)) ** 2).mean(axis=0)
    return np.asarray(10 * np.log10(np.fft.fftshift(power) + 1e-12))
