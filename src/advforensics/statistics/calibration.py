"""Calibration: whether a probability of 90% is right nine times out of ten, and the temperature that mends it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

RANGE = (0.01, 100.0)  # of temperatures
Floats = NDArray[np.float64]


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature by which logits ``(N, K)`` are divided for the likeliest probabilities of ``labels``.

    Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599): one number that
    changes no answer, fitted on pictures that the detector was not trained on.
    """
    values, rows = np.asarray(logits, float), np.arange(len(np.asarray(labels)))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(values / np.exp(log_temperature), axis=1)[rows, np.asarray(labels)].mean())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded").x))


def probabilities(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Return the probabilities ``(N, K)`` of logits ``(N, K)``."""
    found: Floats = softmax(np.asarray(logits, float) / temperature, axis=1)
    return found
