"""Textured triangles in pictures: drawn far to near, lit at their corners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray

SHIFT = 4  # fractional bits of drawn corners
FLAT_PX = 1e-2  # twice the area of a triangle that is seen from its edge
Light = Callable[[Array], tuple[Array, Array]]
"""What unit normals [N, 3] towards the camera receive: diffuse RGB [N, 3], about 0 to 1.2, and highlight [N]."""
Color = tuple[float, float, float]  # of light; or a direction


@dataclass(frozen=True)
class Lamps:
    """The light of a film: a large lamp, a weak one beside it, one behind the head, and the walls."""

    key: Color = (-0.42, -0.55, -0.72)  # towards it, of unit length: x right, y down, z away
    key_light: Color = (0.70, 0.67, 0.63)
    fill: Color = (0.85, -0.1, -0.5)
    fill_light: Color = (0.13, 0.14, 0.16)
    rim: Color = (0.7, -0.35, 0.6)
    rim_light: Color = (0.16, 0.16, 0.17)
    ambient: Color = (0.36, 0.37, 0.40)

    def __call__(self, normals: Array) -> tuple[Array, Array]:
        """A `Light`."""
        toward = _unit(self.key)
        key = (((normals @ toward)[:, None] + WRAP) / (1 + WRAP)).clip(0, 1)
        fill = (normals @ _unit(self.fill)).clip(0, 1)[:, None] * np.array(self.fill_light, np.float32)
        rim = np.square((normals @ _unit(self.rim)).clip(0, 1))[:, None] * np.array(self.rim_light, np.float32)
        sky = (1 - 0.3 * normals[:, 1:2]) * np.array(self.ambient, np.float32)
        mirrored = (normals @ _unit(np.array(self.key) - [0, 0, 1])).clip(0, 1)
        wide = mirrored**2 * np.square(mirrored**2)  # Blinn's highlight, exponents 6 and 24
        shine = SHEEN * wide + GLOSS * np.square(np.square(wide))
        return sky + key * np.array(self.key_light, np.float32) + fill + rim, shine


def _unit(vector: Color | Array) -> Array:
    return (np.asarray(vector, np.float64) / np.linalg.norm(vector)).astype(np.float32)


STUDIO = Lamps()  # above and to the left
WRAP = np.array([0.34, 0.22, 0.17], np.float32)  # how far light of each colour goes round a form: red scatters most
GLOSS, SHEEN = 0.42, 0.12  # strength of the narrow and of the wide highlight


@dataclass(frozen=True)
class Surface:
    """Triangles and what covers them."""

    triangles: Array  # [F, 3]
    places: Array  # [V, 2] float32, texels
    texture: Array  # [H, W, 4] uint8: RGB and gloss
    two_sided: bool = False


def triangle_image(pixels: Array, depth: Array, surface: Surface, size: tuple[int, ...]) -> Array:
    """Which triangle each pixel shows [H, W] int32, -1 for none. pixels [V, 2], depth [V]."""
    corners = pixels[surface.triangles]
    turn = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    order = np.argsort(-depth[surface.triangles].mean(1), kind="stable")
    if not surface.two_sided:
        order = order[turn[order] < 0]  # y points down, z away
    image = np.full(size, -1, np.int32)
    drawn = np.rint((corners[order] - 0.5) * (1 << SHIFT)).astype(np.int32)  # OpenCV counts from pixels' middles
    for number, triangle in zip(order.tolist(), drawn, strict=True):
        cv2.fillConvexPoly(image, triangle, (number,), cv2.LINE_8, SHIFT)
    return image


def interpolate(image: Array, pixels: Array, surface: Surface, values: Array) -> tuple[Array, Array]:
    """Values of points [V, K] where a triangle image shows them: flat indices of pixels [N], values [N, K] float32."""
    at = np.flatnonzero(image >= 0)
    triangle = image.ravel()[at]
    first, second, third = pixels[surface.triangles].swapaxes(0, 1).astype(np.float32)
    one, two = second - first, third - first
    area = _cross(one, two)
    inverse = np.where(np.abs(area) > FLAT_PX, 1 / np.where(area == 0, 1, area), 0)
    # Barycentric coordinates are affine in the pixel: rows of (x, y, 1) coefficients of the second and third corner's.
    rows = np.stack([two[:, 1], -two[:, 0], -one[:, 1], one[:, 0]], 1) * inverse[:, None]
    start = np.stack([(rows[:, :2] * first).sum(1), (rows[:, 2:] * first).sum(1)], 1)
    corner = values[surface.triangles].astype(np.float32)
    edges = np.concatenate([corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], 1)
    y, x = np.divmod(at, image.shape[1])
    x, y = x.astype(np.float32) + 0.5, y.astype(np.float32) + 0.5
    rows, start, edges = rows[triangle], start[triangle], edges[triangle]
    to_second = (rows[:, 0] * x + rows[:, 1] * y - start[:, 0]).clip(0, 1)[:, None]
    to_third = (rows[:, 2] * x + rows[:, 3] * y - start[:, 1]).clip(0, 1)[:, None]
    width = values.shape[1]
    return at, edges[:, :width] + to_second * edges[:, width : 2 * width] + to_third * edges[:, 2 * width :]


def draw(canvas: Array, pixels: Array, depth: Array, normals: Array, surface: Surface, light: Light = STUDIO) -> None:
    """Draw a lit surface into a canvas [S, S, 4] uint8. pixels [V, 2], depth [V] cm, normals [V, 3] of the camera."""
    top, left = np.floor(pixels.min(0)[::-1]).astype(int).clip(0)
    bottom, right = np.ceil(pixels.max(0)[::-1]).astype(int) + 2
    part = canvas[top:bottom, left:right]
    pixels = pixels - [left, top]
    image = triangle_image(pixels, depth, surface, part.shape[:2])
    diffuse, shine = light(normals)
    at, values = interpolate(image, pixels, surface, np.concatenate([diffuse, shine[:, None], surface.places], 1))
    texels = look_up(surface.texture, values[:, 4:])
    colors = texels[:, :3] * values[:, :3] + texels[:, 3:] * values[:, 3:4]
    flat = np.empty((len(at), 4), np.uint8)
    flat[:, :3], flat[:, 3] = np.clip(colors, 0, 255, out=colors), 255
    part[np.divmod(at, part.shape[1])] = flat


def look_up(texture: Array, places: Array) -> Array:
    """Texels [N, C] float32 of a texture at places [N, 2] in texels, between texels by linear interpolation."""
    rows = -(-len(places) // 4096)  # remap takes no side longer than 32767
    padded = np.zeros((2, rows * 4096), np.float32)
    padded[:, : len(places)] = places.T
    x, y = padded.reshape(2, rows, 4096)
    sampled = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(rows * 4096, -1)[: len(places)].astype(np.float32)


def _cross(one: Array, two: Array) -> Array:
    return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]
