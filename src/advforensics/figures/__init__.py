"""Figures: a tidy table or arrays in, a matplotlib Figure out. No pyplot, no state, no display."""

from advforensics.figures.bracket import bracket
from advforensics.figures.cascade import cascade
from advforensics.figures.classes import confusion, median_radii
from advforensics.figures.costs import passes
from advforensics.figures.curves import robustness_curves, tools_curves
from advforensics.figures.files import save
from advforensics.figures.gallery import gallery
from advforensics.figures.patches import contact_sheet, mean_spectra
from advforensics.figures.tradeoff import tradeoff
from advforensics.figures.training import training_curves
from advforensics.figures.transfer import transfer_matrix

__all__ = [
    "bracket",
    "cascade",
    "confusion",
    "contact_sheet",
    "gallery",
    "mean_spectra",
    "median_radii",
    "passes",
    "robustness_curves",
    "save",
    "tools_curves",
    "tradeoff",
    "training_curves",
    "transfer_matrix",
]
