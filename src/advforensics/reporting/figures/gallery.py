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
    residual_clean: Floats,
    residual_adversarial: Floats,
    labels: Sequence[int],
    predicted_clean: Sequence[int],
    predicted_adversarial: Sequence[int],
    class_names: Sequence[str],
    eps_levels: float,
) -> Figure:
    """Draw examples in rows: clean, adversarial, their amplified difference, and the residuals of both.

    Args:
        clean: Shape ``(N, C, H, W)``, C 1 or 3, in [0, 1].
        adversarial: Likewise.
        residual_clean: Signed residual of the clean images, ``(N, R, H, W)``; the first channel is drawn.
        residual_adversarial: Likewise, of the adversarial images; drawn on the scale of the clean residual.
        labels: N true classes.
        predicted_clean: Predicted classes of the clean images.
        predicted_adversarial: Predicted classes of the adversarial images.
        class_names: By label.
        eps_levels: Radius of the attack in levels.
    """
    difference = adversarial - clean
    factor = _round_down(0.5 / max(float(np.abs(difference).max()), MIN_DIFFERENCE))
    figure = Figure(figsize=(7.2, 0.7 + 1.55 * len(clean)))
    grid = figure.subplots(len(clean), 5, squeeze=False)
    headings = ["clean", f"adversarial, ε = {style.format_eps(eps_levels)}", f"difference times {factor:g}"]
    for axes, heading in zip(grid[0], [*headings, "residual, clean", "residual, adversarial"], strict=True):
        axes.set_title(heading, fontsize=9)
    for row, axes in enumerate(grid):
        scale = max(float(np.percentile(np.abs(residual_clean[row, 0]), 99)), 1e-6)
        show_picture(axes[0], clean[row])
        show_picture(axes[1], adversarial[row])
        show_picture(axes[2], 0.5 + factor * difference[row])
        for panel, residual in ((axes[3], residual_clean), (axes[4], residual_adversarial)):
            show_picture(panel, 0.5 + residual[row, :1] / scale / 2)
        axes[0].set_ylabel(f"true: {class_names[labels[row]]}")
        for panel, predicted in ((axes[0], predicted_clean[row]), (axes[1], predicted_adversarial[row])):
            color = "black" if predicted == labels[row] else "#D55E00"
            panel.set_xlabel(f"→ {class_names[predicted]}", color=color, labelpad=2)
    style.footnote(
        figure,
        "Below a picture: the detector's answer, orange if wrong. ε in levels of 1/255. Difference: grey if none.\n"
        "Residual: first channel, both on the scale of the clean one.",
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
