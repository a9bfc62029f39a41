"""Scenes in linear light with the statistics of natural ones.

* *Occlusion.* Opaque shapes in front of one another, whose sizes follow a power law, give the edges and the scale
  invariance of photographs: the "dead leaves" of Lee, Mumford and Huang, "Occlusion Models for Natural Images", 2001.
  Networks can learn from such pictures (Baradad et al., "Learning to See by Looking at Noise", arXiv 2106.05963). Thin
  lines stand for branches, wires and railings.
* *Surface.* Reflectance is log-normal; every shape has a piece of a texture (see :mod:`.textures`) and shading.
* *Light.* Smooth illumination and soft cast shadows multiply everything; a few lamps and glints are brighter.
* *Depth.* Behind the shapes lies a sky above a horizon or a wall, and often some shapes that are out of focus.

Lengths are in samples, one per photosite of the camera. Edges are hard: the camera's lens softens them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from advforensics.sources.textures import TILE, Field, atlas, outlines, power_law_noise, power_law_sizes

SUBSAMPLE_BITS = 3  # fractional bits of OpenCV's drawing coordinates
BAND = 32  # rows at a time, so that the data fit into the processor's cache
LAMP = 0.01  # share of shapes that shine or glint


@dataclass(frozen=True)
class Shapes:
    """The opaque things of a scene, back to front; arrays with one row per shape.

    Attributes:
        outline: Vertices x, y, shape ``(n, VERTICES, 2)``.
        centre: Position x, y, shape ``(n, 2)``.
        colour: Log radiance of the three channels, shape ``(n, 3)``.
        slope: Shading: change of log radiance per sample along x and y, shape ``(n, 2)``.
        texture: Number of its texture, shape ``(n,)``.
        contrast: Standard deviation of log radiance from the texture, shape ``(n,)``.
        turn: Rotation and zoom of the texture: zoom times cosine and sine, shape ``(n, 2)``.
        offset: Position in the texture, shape ``(n, 2)``.
    """

    outline: NDArray[np.float64]
    centre: Field
    colour: Field
    slope: Field
    texture: NDArray[np.int32]
    contrast: Field
    turn: Field
    offset: Field

    @classmethod
    def draw(cls, rng: np.random.Generator, height: int, width: int, horizon: float, kinds: int) -> "Shapes":
        """Draw the shapes of one scene, most of them below the horizon.

        Small shapes come in groups that share a material, such as foliage or pebbles. Large ones are single.
        """
        number = int(np.exp(rng.uniform(np.log(60), np.log(2500))))
        smallest = float(np.exp(rng.uniform(np.log(2.5), np.log(16))))
        large = int(rng.integers(2, 9))
        radii = power_law_sizes(rng, number, smallest, 0.3 * width, rng.uniform(2.2, 3.2))
        radii[:large] = rng.uniform(0.1, 0.7, large) * width
        groups = large + int(rng.integers(2, 15))
        group = np.concatenate([np.arange(large), rng.integers(large, groups, number - large)])
        home = np.stack([rng.uniform(0, width, groups), rng.uniform(horizon, 1.1 * height, groups)], -1)
        # The area of a group's disc is about half of that of its members, however many they are.
        spread = np.sqrt(np.bincount(group, radii**2, groups)) * np.exp(rng.normal(-0.3, 0.4, groups))
        spread[:large] = 0
        angle, reach = rng.uniform(0, 2 * np.pi, number), np.sqrt(rng.uniform(size=number)) * spread[group]
        centre = home[group] + np.stack([1.3 * reach * np.cos(angle), 0.8 * reach * np.sin(angle)], -1)
        # Large shapes tend to lie behind small ones, as surfaces behind details.
        order = np.argsort(-np.log(radii) + rng.normal(0, 0.8, number))
        radii, group, centre = radii[order], group[order], centre[order]

        warmth = rng.normal(0.1, rng.uniform(0.1, 0.4), groups)
        green = np.abs(rng.normal(0, 0.2, groups)) * (rng.uniform(size=groups) < 0.5)
        tint = np.stack([warmth - green, 0 * warmth, -1.2 * warmth - green + rng.normal(0, 0.1, groups)], -1)
        albedo = rng.normal(0, rng.uniform(0.3, 0.8), groups)
        light = rng.uniform(0, 2 * np.pi)
        shade = rng.normal(0.2, 0.25, number) / radii
        straight, level = rng.beta(0.4, 0.4, groups), rng.uniform(size=groups) < 0.7
        roughness = np.exp(rng.normal(np.log(rng.uniform(0.15, 0.65)), 0.7, groups))
        turn = np.where(level[group], rng.normal(0, 0.05, number), rng.uniform(0, 2 * np.pi, number))
        zoom = np.exp(rng.uniform(np.log(0.5), 0, groups))[group]
        own = rng.normal(0, 1, (number, 4)) * [0.05, 0.03, 0.05, rng.uniform(0.1, 0.5)]  # how it differs from its group
        shine = rng.exponential(1.5, number) * (rng.uniform(size=number) < LAMP)
        return cls(
            outline=outlines(rng, radii, straight[group]) + centre[:, None],
            centre=centre.astype(np.float32),
            colour=(tint[group] + own[:, :3] + (albedo[group] + own[:, 3] + shine)[:, None]).astype(np.float32),
            slope=(shade[:, None] * np.array([np.cos(light), np.sin(light)])).astype(np.float32),
            texture=rng.integers(0, kinds, groups)[group].astype(np.int32),
            contrast=np.minimum(roughness[group] * np.exp(own[:, 3]), 1.0).astype(np.float32),
            turn=(zoom[:, None] * np.stack([np.cos(turn), np.sin(turn)], -1)).astype(np.float32),
            offset=rng.uniform(0, TILE, (number, 2)).astype(np.float32),
        )

    def radiance(self, labels: NDArray[np.int32], textures: Field, step: int) -> Field:
        """Return the radiance ``(H, W, 3)`` where sample ``(y, x)`` shows shape ``labels[y, x]``.

        Textures are tiles ``(kinds, side, side)``. ``step`` is the distance of neighbouring samples; 2 for the half
        resolution of what is out of focus.
        """
        side = textures.shape[1]
        # One array holds all tiles, each with its first row and column repeated for interpolation across the seam.
        tiles = np.pad(textures, ((0, 0), (0, 1), (0, 1)), mode="wrap").reshape(-1, side + 1)
        first_row = (self.texture * np.int32(side + 1)).astype(np.float32)
        radiance = np.empty((*labels.shape, 3), np.float32)
        for top in range(0, labels.shape[0], BAND):
            label = labels[top : top + BAND]
            rows, columns = np.indices(label.shape, dtype=np.float32)
            x = step * columns - self.centre[:, 0][label]
            y = step * (rows + top) - self.centre[:, 1][label]
            shade = self.slope[:, 0][label] * x + self.slope[:, 1][label] * y
            cos, sin = self.turn[:, 0][label], self.turn[:, 1][label]
            u = (cos * x + sin * y + self.offset[:, 0][label]) % side
            v = (cos * y - sin * x + self.offset[:, 1][label]) % side + first_row[label]
            log = np.clip(shade, -0.8, 0.8) + self.contrast[label] * cv2.remap(tiles, u, v, cv2.INTER_LINEAR)
            radiance[top : top + BAND] = np.exp(log[..., None] + self.colour[label])
        return radiance


def render(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return the radiance of one scene: linear light, ``(height, width, 3)``, RGB, positive, geometric mean 1."""
    textures = atlas(rng)
    horizon = height * rng.uniform(0.15, 0.7) if rng.uniform() < 0.5 else -0.2 * height
    shapes = Shapes.draw(rng, height, width, horizon, len(textures))
    number = len(shapes.outline)
    far = int(number * rng.uniform(0.1, 0.9)) if rng.uniform() < 0.4 else 0  # how many shapes are out of focus
    scene = _background(rng, height, width, horizon)
    if far:
        scene = _draw_shapes(scene, shapes, textures, 0, far, 2)
        scene = cv2.GaussianBlur(scene, (0, 0), float(np.exp(rng.uniform(np.log(1.5), np.log(12)))))
    scene = cv2.resize(scene, (width, height), interpolation=cv2.INTER_LINEAR)
    scene = _draw_shapes(scene, shapes, textures, far, number, 1)
    scene = _draw_lines(rng, scene)
    scene *= _illumination(rng, height, width)[..., None]
    return np.asarray(scene / np.exp(np.log(scene[::8, ::8] + 1e-6).mean()), np.float32)


def _background(rng: np.random.Generator, height: int, width: int, horizon: float) -> Field:
    """Return the background at half resolution: a sky with clouds above ground, or a wall."""
    height, width = height // 2, width // 2
    side = max(height, width)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    cloud = power_law_noise(rng, TILE, rng.uniform(1.3, 2.2), stretch=rng.uniform(1, 3)) * rng.uniform(0.01, 0.3)
    cloud = cv2.resize(cloud, (side, side), interpolation=cv2.INTER_LINEAR)[:height, :width]
    sky = cloud + rng.uniform(0.2, 1.5) + y * rng.uniform(-0.3, 0.8)
    rough = power_law_noise(rng, 2 * TILE, rng.uniform(0.5, 1.1), stretch=rng.uniform(1, 6)) * rng.uniform(0.05, 0.5)
    ground = cv2.resize(rough, (side, side), interpolation=cv2.INTER_LINEAR)[:height, :width] - rng.uniform(0, 1)
    below = y * height > horizon / 2
    log = np.where(
        below[..., None],
        ground[..., None] + rng.normal([0.1, 0, -0.2], [0.1, 0, 0.1]).astype(np.float32),
        sky[..., None] + np.array([-0.25, 0, 0.3], np.float32) * np.float32(rng.uniform(0, 1.5)),
    )
    return np.asarray(np.exp(log), np.float32)


def _draw_shapes(back: Field, shapes: Shapes, textures: Field, first: int, end: int, step: int) -> Field:
    """Draw the shapes ``first`` to ``end - 1`` in front of ``back``."""
    labels = np.full(back.shape[:2], -1, np.int32)
    fixed = np.rint(shapes.outline[first:end] * (2**SUBSAMPLE_BITS / step)).astype(np.int32)
    for number, outline in enumerate(fixed, first):
        cv2.fillPoly(labels, [outline], number, shift=SUBSAMPLE_BITS)
    return np.where((labels >= 0)[..., None], shapes.radiance(labels, textures, step), back)


def _draw_lines(rng: np.random.Generator, scene: Field) -> Field:
    """Draw thin lines: branches, wires, railings."""
    height, width = scene.shape[:2]
    scene = np.ascontiguousarray(scene)
    for _ in range(int(rng.exponential(5))):
        start = rng.uniform(0, [width, height])
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.choice([0.0, 0.15]), 30))
        path = start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * rng.uniform(3, width / 30), axis=0)
        colour = np.exp(rng.normal(-0.6, 0.9) + rng.normal(0, 0.1, 3))
        fixed = np.rint(path * 2**SUBSAMPLE_BITS).astype(np.int32)
        cv2.polylines(scene, [fixed], False, colour.tolist(), int(rng.integers(1, 8)), shift=SUBSAMPLE_BITS)
    return scene


def _illumination(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return a factor for radiance, ``(height, width)``: smooth illumination, and shadows from outside the picture."""
    slow = rng.normal(0, rng.uniform(0.05, 0.4), (3, 4)).astype(np.float32)
    field = np.exp(cv2.resize(slow, (width // 4, height // 4), interpolation=cv2.INTER_CUBIC))
    shadow = np.zeros_like(field)
    number = int(rng.integers(0, 5))
    points = outlines(rng, rng.uniform(0.05, 0.4, number) * width / 4)
    points += rng.uniform(0, [width / 4, height / 4], (number, 1, 2))
    cv2.fillPoly(shadow, list(np.rint(points).astype(np.int32)), 1.0)
    shadow = cv2.GaussianBlur(shadow, (0, 0), float(np.exp(rng.uniform(np.log(0.6), np.log(20)))))
    field *= 1 - rng.uniform(0.2, 0.8) * shadow
    return np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
