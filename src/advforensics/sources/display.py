"""A display, and the light from it that reaches the sensor of a camera.

The model has pixels of three stripes (red, green, blue) with black gaps; gamma and black level of the display; room
light on the glass; distance, rotation and perspective of the camera; defocus. Moiré is not drawn: it arises where the
camera's mosaic samples the stripes (Thongkamwitoon, Muammar, Dragotti, "An Image Recapture Detection Algorithm Based on
Learning Dictionaries of Edge Profiles", 2015, describe both).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from advforensics.sources.camera import Field
from advforensics.sources.compact import log_uniform

OVERSAMPLING = 4  # samples per photosite: a stripe is wider than a sample at any pitch below
PITCH = (1.3, 3.5)  # photosites per pixel of the display: from half a metre or a metre away
ROTATION = 3.0  # degrees, standard deviation
KEYSTONE = 0.02  # standard deviation of a corner's shift, as a share of the frame
MARGIN = 1.25  # the display shows so much more than the frame, so that the camera sees nothing else
LIT = 0.85  # share of a stripe's width and of a pixel's height that shines; the rest is black


@dataclass(frozen=True)
class Display:
    """A display and the position of the camera.

    Attributes:
        pitch: Photosites per pixel of the display.
        corners: Perspective: shift of the frame's corners against a view from straight ahead, as shares of the frame,
            ``(4, 2)``, x before y, clockwise from the upper left.
        rotation: Rotation of the camera in degrees.
        gamma: Gamma of the display.
        black: Light of a black pixel, as a share of white.
        veil: Room light on the glass, as a share of white.
        tint: Red and blue of white, relative to green.
        defocus: Standard deviation of the blur in photosites, lens included.
    """

    pitch: float
    corners: NDArray[np.float64]
    rotation: float
    gamma: float
    black: float
    veil: float
    tint: tuple[float, float]
    defocus: float

    @classmethod
    def draw(cls, rng: np.random.Generator, blur: float) -> "Display":
        """Draw a display and a position, for a lens with a standard deviation of ``blur`` photosites."""
        return cls(
            pitch=log_uniform(rng, PITCH),
            corners=rng.normal(0, KEYSTONE, (4, 2)),
            rotation=rng.normal(0, ROTATION),
            gamma=rng.uniform(2.0, 2.4),
            black=log_uniform(rng, (5e-4, 5e-3)),
            veil=log_uniform(rng, (1e-3, 3e-2)),
            tint=(float(np.exp(rng.normal(0, 0.05))), float(np.exp(rng.normal(0, 0.05)))),
            defocus=float(np.hypot(blur, rng.uniform(0, 0.5))),
        )

    def light(self, displayed: NDArray[np.uint8], height: int, width: int) -> Field:
        """Return the light on the sensor: linear, ``(height, width, 3)``, RGB, geometric mean 1.

        The picture that is displayed, ``(h, w, 3)``, RGB, is resized to the pixels of the display.
        """
        columns, rows = (round(MARGIN * side / self.pitch) for side in (width, height))
        pixels = cv2.resize(displayed, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        emitted = self.black + (1 - self.black) * pixels**self.gamma + self.veil
        emitted *= np.array([self.tint[0], 1, self.tint[1]], np.float32)
        x, y = self._visible_points(rows, columns, height * OVERSAMPLING, width * OVERSAMPLING)
        column, row = np.floor(x), np.floor(y)
        lit = self._stripe_coverage(y, 0.5, LIT)
        light = np.empty((height, width, 3), np.float32)
        for channel in range(3):
            stripe = self._stripe_coverage(x, (channel + 0.5) / 3, LIT / 3)
            colour = cv2.remap(emitted[..., channel], column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            fine = cv2.GaussianBlur(colour * stripe * lit, (0, 0), self.defocus * OVERSAMPLING)
            light[..., channel] = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(light / np.exp(np.log(light + 1e-6).mean()), np.float32)

    def _stripe_coverage(self, positions: Field, middle: float, width: float) -> Field:
        """Return the share of each sample's width that lies on the stripes of one colour.

        Point samples would alias with the stripes: it would look like moiré, and no lens blur could remove it.
        """
        distance = np.abs((positions - middle + 0.5) % 1 - 0.5)
        return np.asarray(np.clip((width / 2 - distance) * self.pitch * OVERSAMPLING + 0.5, 0, 1), np.float32)

    def _visible_points(self, rows: int, columns: int, height: int, width: int) -> tuple[Field, Field]:
        """Return the point of the display, x and y in its pixels, that each of ``(height, width)`` samples sees."""
        rotation = cv2.getRotationMatrix2D((0.5, 0.5), self.rotation, 1 / MARGIN)
        frame = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + self.corners
        visible = np.c_[frame, np.ones(4)] @ rotation.T * [columns, rows]
        samples = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        project = cv2.getPerspectiveTransform(samples.astype(np.float32), visible.astype(np.float32))
        across, down = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32)[:, None] + 0.5
        x, y, depth = (row[0] * across + row[1] * down + row[2] for row in project)
        return (x / depth).astype(np.float32), (y / depth).astype(np.float32)
