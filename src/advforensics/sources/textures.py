"""Textures that cover the surfaces of a simulated scene, square tiles that repeat without a seam; see :mod:`.scene`."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

TILE = 512  # side of a tile; every surface shows another piece of it, so the repetition is not visible
VERTICES = 24  # of an outline: enough for smooth curves, and divisible by 3, 4 and 6 corners


def power_law_noise(rng: np.random.Generator, side: int, exponent: float, stretch: float = 1.0) -> Field:
    """Return periodic Gaussian noise ``(side, side)`` with the amplitude spectrum ``1 / f**exponent``, standardised.

    Exponent 0 is white noise, 1 is usual for photographs, 2 is as soft as clouds. Structures are ``stretch`` times
    longer along x than along y.
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side) * stretch).astype(np.float32)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32)) / frequency ** np.float32(exponent)
    return _standardised(np.fft.irfft2(spectrum, s=(side, side)))


def power_law_sizes(rng: np.random.Generator, n: int, low: float, high: float, exponent: float) -> NDArray[np.float64]:
    """Draw ``n`` radii between ``low`` and ``high`` with density proportional to ``r**-exponent``.

    Exponent 3 makes occluding shapes scale invariant (Lee, Mumford and Huang 2001, see :mod:`.scene`).

    Raises:
        ValueError: If not ``exponent > 1`` and ``0 < low < high``.
    """
    if exponent <= 1 or not 0 < low < high:
        raise ValueError(f"need exponent > 1 and 0 < low < high, got exponent={exponent}, low={low}, high={high}")
    power = 1 - exponent
    return np.asarray((low**power + rng.uniform(size=n) * (high**power - low**power)) ** (1 / power))


def outlines(
    rng: np.random.Generator, radii: NDArray[np.float64], straight: NDArray[np.float64] | float = 0.5
) -> NDArray[np.float64]:
    """Return the vertices ``(n, VERTICES, 2)``, x before y, of closed outlines around the origin, of sizes ``(n,)``.

    They are round lumps, and polygons with straight edges. ``straight`` is the probability of the latter, one number or
    one per outline.
    """
    n = len(radii)
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)[None]
    lump = np.ones((n, VERTICES))
    for k in (2, 3, 4, 5):
        lump += rng.normal(0, 0.25 / k, (n, 1)) * np.cos(k * angle + rng.uniform(0, 2 * np.pi, (n, 1)))
    sector = np.pi / rng.choice([3, 4, 4, 4, 6], (n, 1))
    polygon = np.cos(sector) / np.cos(angle % (2 * sector) - sector)
    reach = np.where((rng.uniform(size=n) < straight)[:, None], polygon, np.clip(lump, 0.3, 2.0))
    # A square has its first corner at angle 0: turn it by 45 degrees, so that it is stretched along its sides.
    points = np.stack([reach * np.cos(angle + np.pi / 4), reach * np.sin(angle + np.pi / 4)], axis=-1)
    aspect = np.exp(rng.normal(0, 0.5, (n, 1, 1)))
    points *= np.concatenate([aspect, 1 / aspect], axis=-1)
    # Vertical and horizontal edges are more common than slanted ones.
    turn = np.where(rng.uniform(size=n) < 0.5, rng.normal(0, 0.05, n), rng.uniform(0, np.pi, n))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(np.einsum("ijn,nvj->nvi", rotation, points) * radii[:, None, None])


def leaf_texture(rng: np.random.Generator, side: int, smallest: float) -> Field:
    """Return overlapping leaves or pebbles, with radii from ``smallest`` samples upwards."""
    canvas = np.zeros((side, side), np.float32)
    radii = power_law_sizes(rng, 2500, smallest, 15 * smallest, 3.0)
    points = outlines(rng, radii) + rng.uniform(0, side, (len(radii), 1, 2))
    for outline, value in zip(np.rint(points).astype(np.int32), rng.normal(size=len(radii)), strict=True):
        cv2.fillPoly(canvas, [outline], float(value))
    return _standardised(canvas)


def masonry(rng: np.random.Generator, side: int) -> Field:
    """Return bricks, planks or the windows of a facade: straight joints at regular distances."""
    rows, columns = (int(2 ** rng.integers(1, 6)) for _ in range(2))
    y, x = np.indices((side, side)) * np.array([rows, columns]).reshape(2, 1, 1) / side
    x += (np.floor(y) % 2) * rng.choice([0.0, 0.5])
    row, column = np.floor(y).astype(int), np.floor(x).astype(int) % columns
    edge = (1 - rng.uniform(0.03, 0.4)) / 2
    inside = (np.abs(y % 1 - 0.5) < edge) & (np.abs(x % 1 - 0.5) < edge)
    bricks = rng.normal(rng.choice([-1.5, 1.5]), 0.5, (rows, columns))[row, column]
    return _standardised(np.where(inside, bricks, 0) + 0.25 * power_law_noise(rng, side, 1.0))


def atlas(rng: np.random.Generator, side: int = TILE) -> NDArray[np.float32]:
    """Return one tile of each kind, shape ``(kinds, side, side)``: cloudy, rough, grained, leafy, pebbly, built."""
    return np.stack(
        [
            power_law_noise(rng, side, rng.uniform(0.9, 1.3)),
            power_law_noise(rng, side, rng.uniform(0.3, 0.8)),
            power_law_noise(rng, side, rng.uniform(0.5, 1.0), stretch=float(np.exp(rng.uniform(1, 3)))),
            leaf_texture(rng, side, smallest=1.5),
            leaf_texture(rng, side, smallest=3.5),
            masonry(rng, side),
        ]
    )


def _standardised(field: NDArray[np.floating]) -> Field:
    return np.asarray((field - field.mean()) / field.std(), np.float32)
