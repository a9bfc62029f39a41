"""A gallery of adversarial examples."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advforensics.reporting import style

Floats = NDArray[np.floating[Any]]

MIN_DIFFERENCE = 1 / 255 / 16  # a smaller difference is not amplified to full contrast


@mpl.rc_context(style.PAPER | {"axes.grid": False})
def draw_gallery(
    clean: Floats,
    adversarial: Floats,
    where: Floats,
    labels: Sequence[int],
    predicted_clean: Sequence[int],
    predicted_adversarial: Sequence[int],
    class_names: Sequence[str],
    eps_levels: float,
) -> Figure:
    """Draw examples in rows: clean, adversarial, their amplified difference, and where the answer lies.

    Args:
        clean: Shape ``(N, C, H, W)``, C 1 or 3, in [0, 1].
        adversarial: Likewise.
        where: Maps over the clean pictures, ``(N, rows, columns)`` in [0, 1].
        labels: N true classes.
        predicted_clean: Predicted classes of the clean images.
        predicted_adversarial: Predicted classes of the adversarial images.
        class_names: By label.
        eps_levels: Radius of the attack in levels.
    """
    difference = adversarial - clean
    factor = _round_down(0.5 / max(float(np.abs(difference).max()), MIN_DIFFERENCE))
    height, width = clean.shape[-2:]
    figure = Figure(figsize=(7.2, (0.35 if len(clean) == 1 else 0.7) + len(clean) * (0.3 + 1.75 * height / width)))
    grid = figure.subplots(len(clean), 4, squeeze=False)
    headings = [
        "clean",
        f"forged, ε = {style.format_eps(eps_levels)}",
        f"difference times {factor:g}",
        "where it looked",
    ]
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading, fontsize=9)
    for row, axes in enumerate(grid):
        show_picture(axes[0], clean[row])
        show_picture(axes[1], adversarial[row])
        show_picture(axes[2], 0.5 + factor * difference[row])
        show_picture(axes[3], clean[row].mean(axis=0, keepdims=True))
        axes[3].imshow(
            where[row], cmap="inferno", alpha=0.65, vmin=0, vmax=1, extent=(-0.5, width - 0.5, height - 0.5, -0.5)
        )
        axes[0].set_ylabel(f"true: {class_names[labels[row]]}")
        for panel, predicted in ((axes[0], predicted_clean[row]), (axes[1], predicted_adversarial[row])):
            color = "black" if predicted == labels[row] else "#D55E00"
            panel.set_xlabel(f"→ {class_names[predicted]}", color=color, labelpad=2)
    if len(clean) > 1:
        style.footnote(
            figure,
            "Below a picture: the detector's answer, orange if wrong. ε in levels of 1/255. Difference: grey if none.\n"
            "Where it looked: how strongly the answer depends on each region, by the gradient; of whole pictures, the\n"
            "probability that each patch gives the answer. Bright is most.",
        )
    return figure


def _round_down(value: float) -> float:
    """Round down to 1, 2 or 5 times a power of ten; amplification by the result clips nothing."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)) * power)


def show_picture(axes: Axes, image: Floats) -> None:
    """Show an image (C, H, W) in [0, 1] pixel by pixel; one channel is grey."""
    shown = np.clip(image, 0, 1).transpose(1, 2, 0)
    axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
