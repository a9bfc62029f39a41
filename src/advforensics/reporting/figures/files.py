"""Figures as files."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from advforensics.reporting import style


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.png`` (150 dpi) and ``name.svg``, return both paths; the same figure always gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with mpl.rc_context(style.PAPER | {"svg.hashsalt": name}):
        figure.savefig(png, dpi=150, metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout is done by now; doing it again takes as long as drawing
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg
