"""What is below the head: neck, shoulders and the clothes on them, painted once and moved as a whole."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.actor_drawing.looks import Look
from preprocess.actor_drawing.noise import blend, rough_noise, smooth_noise, step
from preprocess.actor_drawing.raster import Light

Array = np.ndarray
Outline = list[tuple[float, float]]  # shares of the picture's side

SHOULDERS = [
    (-0.1, 0.955),
    (0.0, 0.93),
    (0.09, 0.885),
    (0.20, 0.838),
    (0.31, 0.80),
    (0.38, 0.765),
    (0.42, 0.73),
    (0.5, 0.72),
]
NECK: Outline = [(0.395, 0.5), (0.605, 0.5), (0.608, 0.70), (0.635, 0.78), (0.5, 0.965), (0.365, 0.78), (0.392, 0.70)]
COLLAR: Outline = [
    (0.372, 0.728),
    (0.392, 0.752),
    (0.43, 0.825),
    (0.494, 0.912),
    (0.437, 0.985),
    (0.36, 0.865),
    (0.338, 0.79),
]
INSIDE: Outline = [(0.372, 0.728), (0.392, 0.735), (0.47, 0.85), (0.5, 0.93), (0.494, 0.912), (0.42, 0.83)]
LAPEL: Outline = [
    (0.325, 0.79),
    (0.372, 0.765),
    (0.43, 0.88),
    (0.5, 1.08),
    (0.40, 1.08),
    (0.31, 0.93),
    (0.352, 0.905),
    (0.30, 0.865),
]
STRIPES = 24  # across the picture


def paint_body(size: int, look: Look, random: np.random.Generator, light: Light) -> Array:
    """Neck and clothes [S, S, 4] uint8 RGB and alpha, going on beyond the picture's bottom."""
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    edge = _shoulder_line(size)
    covered = ((y - edge) * size + 0.5).clip(0, 1)
    folds = _folds(x, y, random)
    normals = _cloth_normals(x, y - edge, folds, 0.5 if look.clothes == "jacket" else 1.0)
    diffuse = _lit(normals, light)
    picture = {"shirt": _stripes, "sweater": _knit, "jacket": _tweed}[look.clothes](x, y, folds, look, random) * diffuse
    neck = _inside(NECK, size)
    blend(picture, _neck(x, y, look, random, light), neck)
    trim = {"shirt": _shirt_collar, "sweater": _round_neck, "jacket": _lapels}[look.clothes]
    trim(picture, x, y, look, diffuse)
    shown = np.maximum(covered, neck)
    return np.dstack([picture, 255 * shown]).clip(0, 255).astype(np.uint8)


def _mirror(outline: Outline) -> Outline:
    return [(1 - x, y) for x, y in outline]


def _inside(outline: Outline, size: int, blur: float = 0.0) -> Array:
    """Share [S, S] of each pixel inside an outline; blur: of its edge, share of the side."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.rint(np.array(outline) * size * 16 - 8).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    share = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(share, (0, 0), blur * size) if blur else share


def _shoulder_line(size: int) -> Array:
    """Height [S] of the shoulders above each column, a share of the side."""
    half = np.array(SHOULDERS)
    knots = np.concatenate([half, [(1 - x, y) for x, y in half[-2::-1]]])
    columns = (np.arange(-size // 8, size + size // 8, dtype=np.float32) + 0.5) / size
    line = np.interp(columns, knots[:, 0], knots[:, 1]).astype(np.float32)[None]
    return cv2.GaussianBlur(line, (0, 0), size / 45)[0, size // 8 : -(size // 8) or None][:size]


def _folds(x: Array, y: Array, random: np.random.Generator) -> Array:
    """Height of the cloth [S, S], about -1..1: folds that run from the armpits and hang from the collar."""
    size = x.shape
    warp = smooth_noise(size, (size[0] / 5,) * 2, random)
    height = 0.5 * rough_noise(size, size[0] / 7, 3, random)
    for middle in (0.13, 0.87):
        angle, away = np.arctan2(y - 1.06, x - middle), np.hypot(x - middle, y - 1.06)
        height += np.sin(11 * angle + 0.9 * warp) * np.exp(-np.square((away - 0.14) / 0.10)) * 1.1
    from_collar, below = np.arctan2(x - 0.5, y - 0.60), np.hypot(x - 0.5, y - 0.60)
    return height + 0.7 * np.sin(17 * from_collar + 1.1 * warp) * np.exp(-np.square((below - 0.40) / 0.09))


def _lit(normals: Array, light: Light) -> Array:
    """What a form of normals [S, S, 3] receives [S, S, 3]."""
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    return light(normals.reshape(-1, 3).astype(np.float32))[0].reshape(normals.shape)


def _cloth_normals(x: Array, below: Array, folds: Array, depth: float) -> Array:
    """Normals [S, S, 3] of the cloth; below: share of the side below the shoulder's edge."""
    size = len(x)
    down, right = np.gradient(cv2.GaussianBlur(folds, (0, 0), size / 170) * np.float32(depth * size / 60))
    across, up = 1.1 * (x - 0.5), np.exp(-below.clip(0, None) / 0.07)
    return np.stack([across - right, -0.85 * up - 0.12 - down, -np.ones_like(x)], -1)


def _weave(x: Array, strength: float, random: np.random.Generator) -> Array:
    size = x.shape
    threads = smooth_noise(size, (2, 9), random) + smooth_noise(size, (9, 2), random)
    return 1 + strength * threads[..., None]


def _stripes(x: Array, y: Array, folds: Array, look: Look, random: np.random.Generator) -> Array:
    place = ((x - 0.02 * y + 0.0035 * folds) * STRIPES) % 1
    share = step(np.abs(place - 0.5), 0.13, 0.09)
    cloth = np.tile(np.array(look.cloth, np.float32), (*x.shape, 1))
    blend(cloth, look.trim, share)
    return cloth * _weave(x, 0.02, random)


def _knit(x: Array, y: Array, folds: Array, look: Look, random: np.random.Generator) -> Array:
    """Rows of slanting stitches, in broad ribs."""
    across, down = (x + 0.003 * folds) * 96, (y + 0.003 * folds) * 120
    slant = np.abs(across % 1 - 0.5) * 1.4
    stitch = 0.5 + 0.5 * np.cos(2 * np.pi * (down + slant))
    rib = 0.5 + 0.5 * np.cos(2 * np.pi * across / 8)
    cloth = np.tile(np.array(look.cloth, np.float32), (*x.shape, 1))
    blend(cloth, look.trim, 0.55 * step(rib, 0.5, 0.9))
    grain = 1 + 0.05 * rough_noise(x.shape, len(x) / 60, 3, random)
    return cloth * ((0.84 + 0.2 * stitch) * (0.92 + 0.1 * rib) * grain)[..., None]


def _tweed(x: Array, y: Array, folds: Array, look: Look, random: np.random.Generator) -> Array:
    size = x.shape
    grain = smooth_noise(size, (len(x) / 260,) * 2, random) + 0.5 * smooth_noise(size, (len(x) / 120,) * 2, random)
    herring = np.cos(2 * np.pi * (y * 90 + np.abs((x * 22 + 0.06 * folds) % 1 - 0.5) * 5))
    return np.array(look.cloth, np.float32) * (1 + 0.12 * grain + 0.10 * herring)[..., None]


def _neck(x: Array, y: Array, look: Look, random: np.random.Generator, light: Light) -> Array:
    """Skin of a round neck with its tendons and the shade below the jaw."""
    size = x.shape
    across = ((x - 0.5) / (0.108 + 0.05 * (y - 0.7).clip(0, 1))).clip(-0.97, 0.97)
    diffuse = _lit(np.stack([across, np.full_like(x, 0.18), -np.sqrt(1 - across**2)], -1), light)
    skin = (
        np.array(look.skin, np.float32)
        * [0.95, 0.92, 0.91]
        * (1 + 0.02 * rough_noise(size, len(x) / 40, 4, random))[..., None]
    )
    for side in (-1, 1):
        tendon = (x - 0.5) * side - (0.085 - 0.42 * (y - 0.72))
        skin *= (1 + 0.05 * np.exp(-np.square(tendon / 0.012)) - 0.07 * np.exp(-np.square((tendon + 0.03) / 0.014)))[
            ..., None
        ]
    notch = np.exp(-np.square((x - 0.5) / 0.02) - np.square((y - 0.93) / 0.03))
    shade = 1 - 0.20 * step(y, 0.95, 0.80) - 0.15 * notch
    return skin * diffuse * shade[..., None] * [1.0, 0.97, 0.96]


def _cast(picture: Array, outline: Outline, offset: tuple[float, float], strength: float) -> None:
    """The soft shadow of a part on what lies below it."""
    shadow = _inside([(x + offset[0], y + offset[1]) for x, y in outline], len(picture), 0.008)
    picture *= (1 - strength * shadow)[..., None]


def _shirt_collar(picture: Array, x: Array, y: Array, look: Look, diffuse: Array) -> None:
    size = len(picture)
    placket = step(np.abs(x - 0.5), 0.021, 0.019) * step(y, 0.90, 0.92)
    picture *= (1 + 0.07 * placket - 0.22 * np.exp(-np.square((x - 0.521) * 400)) * step(y, 0.92, 0.94))[..., None]
    button = np.hypot(x - 0.5, y - 0.985)
    blend(picture, (232, 232, 228), step(button, 0.0075, 0.006))
    white = np.array([232, 234, 238], np.float32)
    for outline, inner, side in ((COLLAR, INSIDE, -1), (_mirror(COLLAR), _mirror(INSIDE), 1)):
        blend(picture, white * 0.62, _inside(inner, size))
        _cast(picture, outline, (0.006, 0.012), 0.42)
        fold = step((x - 0.5) * side, 0.02, 0.16) * 0.16 - 0.10 * step(y, 0.80, 0.76)
        leaf = white * (0.80 + fold)[..., None] * (0.75 + 0.25 * diffuse)
        blend(picture, leaf, _inside(outline, size))
        seam = cv2.GaussianBlur(_inside(outline, size), (0, 0), 0.006 * size)
        picture *= (1 - 0.10 * np.exp(-np.square((seam - 0.86) / 0.03)))[..., None]


def _round_neck(picture: Array, x: Array, y: Array, look: Look, diffuse: Array) -> None:
    """A ribbed band around the neck."""
    across = (x - 0.5) / 0.155
    line = 0.755 + 0.185 * np.sqrt((1 - across**2).clip(0, 1))
    inside = (np.abs(across) < 1.0) & (y > 0.70)
    band = step(y, line - 0.001, line + 0.001) * step(y, line + 0.041, line + 0.039) * inside
    cloth = np.array(look.cloth, np.float32) * 0.96
    ribs = 0.86 + 0.14 * np.cos(2 * np.pi * np.arctan2(x - 0.5, y - 0.72) * 22)
    round_form = 0.8 + 0.3 * np.sin(np.pi * ((y - line) / 0.04).clip(0, 1))
    shadow = np.exp(-np.square(((y - line) - 0.045) / 0.010)) * inside * 0.3
    picture *= (1 - shadow)[..., None]
    blend(picture, cloth * (ribs * round_form)[..., None] * diffuse, band)


def _lapels(picture: Array, x: Array, y: Array, look: Look, diffuse: Array) -> None:
    """A plain shirt with a round neck under open lapels."""
    size = len(picture)
    across = (x - 0.5) / 0.15
    line = 0.765 + 0.155 * np.sqrt((1 - across**2).clip(0, 1))
    shirt = step(y, line - 0.001, line + 0.001) * (np.abs(x - 0.5) < 0.16)
    cotton = np.array(look.trim, np.float32) * diffuse
    seam = 1 - 0.2 * np.exp(-np.square(((y - line) - 0.022) / 0.0022))
    blend(
        picture, cotton * seam[..., None], shirt * _inside([(0.34, 0.7), (0.66, 0.7), (0.53, 1.1), (0.47, 1.1)], size)
    )
    for outline in (LAPEL, _mirror(LAPEL)):
        _cast(picture, outline, (0.006, 0.010), 0.5)
        leaf = _inside(outline, size)
        grain = np.array(look.cloth, np.float32) * 1.12 * (0.85 + 0.25 * diffuse)
        blend(picture, grain * (0.94 + 0.06 * np.cos(2 * np.pi * (y * 110 + x * 40)))[..., None], leaf)
        seam = cv2.GaussianBlur(leaf, (0, 0), 0.005 * size)
        picture *= (1 - 0.25 * np.exp(-np.square((seam - 0.8) / 0.04)))[..., None]
