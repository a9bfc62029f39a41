"""Figures: a tidy table or arrays in, a matplotlib Figure out. No pyplot, no state, no display."""

from advforensics.figures.bracket import bracket
from advforensics.figures.cascade import cascade
from advforensics.figures.classes import confusion, median_radii
from advforensics.figures.costs import passes
from advforensics.figures.curves import robustness_curves, tools_curves
from advforensics.figures.files import save
from advforensics.figures.gallery import gallery
from advforensics.figures.tradeoff import tradeoff
from advforensics.figures.training import training_curves
from advforensics.figures.transfer import transfer_matrix

__all__ = [
    "bracket",
    "cascade",
    "confusion",
    "gallery",
    "median_radii",
    "passes",
    "robustness_curves",
    "save",
    "tools_curves",
    "tradeoff",
    "training_curves",
    "transfer_matrix",
]
