"""The texture of an actor's head: skin with pores, freckles and beard, brows, lips, ears, hair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from avatar.core.landmarks import (
    BROWS,
    CHEEKS,
    CHIN,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LEFT_EYE_OUTLINE,
    LEFT_UPPER_LID,
    MESH_POINTS,
    NOSE_BASE,
    NOSE_TIP,
    OUTER_LIPS,
    RIGHT_EYE_OUTLINE,
    RIGHT_UPPER_LID,
)
from preprocess.actor_drawing.hair import hair_layer
from preprocess.actor_drawing.head import EAR, Head, ear_places, hair_depth
from preprocess.actor_drawing.looks import Look
from preprocess.actor_drawing.noise import blend, rough_noise, smooth_noise, step
from preprocess.actor_drawing.raster import Surface, interpolate, triangle_image

Array = np.ndarray
Patch = tuple[tuple[slice, slice], Array]  # a part of the texture, and a share 0..1 of each of its texels

COARSE = 4  # texels for what is smooth are so many times larger
TEXTURE_SCALE = 3  # texels along the texture for a pixel along the picture
NOSTRILS = (((97, 98, 60, 75)), ((326, 327, 290, 305)))
UPPER_LIP_OUTLINE = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78)
STROKES = 260  # hairs of a brow


@dataclass(frozen=True)
class _Canvas:
    """What the painters share."""

    look: Look
    size: int
    cm: float  # texels a centimetre, in the middle of the face
    points: Array  # [468, 2] texels of the mesh
    rest: Array  # [468, 3] cm
    random: np.random.Generator

    def outline(self, points: Array, blur_cm: float) -> Patch:
        """The inside of an outline of texels [N, 2], its edge softened."""
        return self._patch(points, blur_cm, lambda mask, at: cv2.fillPoly(mask, [at], (255,), cv2.LINE_AA, 4))

    def line(self, points: Array, width_cm: float, blur_cm: float) -> Patch:
        """An open line through texels [N, 2], softened."""
        width = max(1, round(width_cm * self.cm))
        return self._patch(
            points,
            blur_cm + width_cm,
            lambda mask, at: cv2.polylines(mask, [at], False, (255,), width, cv2.LINE_AA, 4),
            blur_cm,
        )

    def _patch(
        self, points: Array, margin_cm: float, draw: Callable[[Array, Array], object], blur_cm: float = 0
    ) -> Patch:
        margin, blur = 3 * margin_cm * self.cm + 2, (blur_cm or margin_cm) * self.cm
        left, top = np.floor(points.min(0) - margin).astype(int).clip(0)
        right, bottom = np.ceil(points.max(0) + margin).astype(int)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        draw(mask, _fixed(points - [left, top]))
        share = cv2.GaussianBlur(mask, (0, 0), max(0.3, blur)).astype(np.float32) / 255
        return (slice(top, bottom), slice(left, right)), share


def paint_head(head: Head, look: Look, size: int, random: np.random.Generator) -> Array:
    """The texture [S, S, 4] uint8 (RGB, gloss) of a head; its places in texels are places * S."""
    size -= size % COARSE
    coarse = size // COARSE
    where = _positions(head, coarse)
    points = head.places[:MESH_POINTS] * size
    eyes = np.linalg.norm(points[33] - points[263]) / np.linalg.norm(head.rest[33] - head.rest[263])
    canvas = _Canvas(look, size, float(eyes), points, head.rest[:MESH_POINTS], random)
    skin = _skin(where, canvas)
    picture: Array = cv2.resize(skin, (size, size), interpolation=cv2.INTER_CUBIC)
    _pores(picture, canvas)
    _freckles(picture, where, canvas)
    _eyes(picture, canvas)
    _nose(picture, canvas)
    lips = _lips(picture, canvas)
    _beard(picture, where, lips, canvas)
    _brows(picture, canvas)
    _ears(picture, canvas)
    depth = cv2.resize(hair_depth(where.reshape(-1, 3), look).reshape(coarse, coarse).astype(np.float32), (size, size))
    hair, share = hair_layer(depth, look, size, canvas.cm, random)
    picture += (hair - picture) * share[..., None]
    return picture.clip(0, 255).astype(np.uint8)


def _fixed(points: Array) -> Array:
    return np.rint((points - 0.5) * 16).astype(np.int32)


def _positions(head: Head, size: int) -> Array:
    """Where each texel lies on the head at rest [S, S, 3] cm; behind the head's middle where nothing is."""
    surface = Surface(head.triangles, head.places.astype(np.float32), np.zeros((1, 1, 4), np.uint8), two_sided=True)
    pixels = head.places * size
    image = triangle_image(pixels, np.zeros(len(pixels)), surface, (size, size))
    at, values = interpolate(image, pixels, surface, head.rest)
    where = np.full((size * size, 3), [0, 0, 14], np.float32)
    where[at] = values
    return where.reshape(size, size, 3)


def _spot(where: Array, center: Array, radii: tuple[float, float, float]) -> Array:
    return np.exp(-np.square((where - center.astype(np.float32)) / np.array(radii, np.float32)).sum(-1))


def _skin(where: Array, canvas: _Canvas) -> Array:
    """Complexion and the shade of hollows, and gloss: [S, S, 4] float32."""
    rest, random, size = canvas.rest, canvas.random, where.shape[:2]
    base = np.array(canvas.look.skin, np.float32)
    warm, cool = base * [1.03, 0.86, 0.82], base * [0.93, 0.92, 0.99]
    skin = np.tile(base, (*size, 1))
    skin *= (1 + 0.018 * rough_noise(size, canvas.cm / COARSE * 1.6, 3, random))[..., None]
    redness = 0.10 * smooth_noise(size, (canvas.cm / COARSE * 1.1,) * 2, random).clip(0, 2)
    for side in (-1, 1):
        redness += 0.62 * _spot(where, np.array([side * 4.1, 3.3, 0.5]), (1.9, 1.6, 9))
        blend(skin, cool, 0.5 * _spot(where, np.array([side * 3.0, 1.75, 0]), (1.5, 0.55, 9)))  # below the eyes
        blend(skin, base * 0.72, 0.7 * _spot(where, np.array([side * 1.75, 0.0, 0]), (0.75, 0.9, 9)))  # beside the nose
        blend(skin, base * 0.80, 0.5 * _spot(where, np.array([side * 3.3, -0.5, 0]), (1.7, 0.5, 9)))  # above the lids
        blend(
            skin, base * 0.76, 0.55 * _spot(where, np.array([side * 2.3, 4.5, 0]), (0.45, 0.75, 9))
        )  # wings of the nose
        blend(
            skin, base * 0.82, 0.4 * _spot(where, np.array([side * 2.9, 5.9, 0]), (0.4, 1.1, 9))
        )  # folds to the mouth
        blend(skin, base * 0.85, 0.5 * _spot(where, rest[CHEEKS[side > 0]] + [0, 3.0, 0], (1.4, 2.2, 3)))
    redness += 0.6 * _spot(where, rest[NOSE_TIP], (1.3, 1.0, 2.5)) + 0.25 * _spot(
        where, rest[CHIN] - [0, 1, 0], (1.6, 1.2, 4)
    )
    blend(skin, warm, redness.clip(0, 1))
    blend(skin, base * 0.74, 0.6 * _spot(where, rest[17] + [0, 0.55, 0], (1.7, 0.4, 6)))  # below the lower lip
    blend(skin, base * 0.80, 0.6 * _spot(where, rest[NOSE_BASE] + [0, 0.1, 0], (1.4, 0.45, 3)))
    blend(skin, base * 0.9, 0.5 * _spot(where, (rest[NOSE_BASE] + rest[0]) / 2, (0.28, 0.6, 6)))
    blend(skin, base * 1.05, 0.6 * _spot(where, np.array([0, -3.4, -1]), (3.6, 1.5, 6)))
    gloss = np.full(size, 0.55, np.float32) + 0.5 * _spot(where, np.array([0, 1.5, -3]), (0.9, 3.4, 4))
    gloss += 0.35 * _spot(where, np.array([0, -3.2, -1]), (3.5, 1.6, 5)) + 0.25 * _spot(
        where, rest[CHIN], (1.3, 1.2, 4)
    )
    return np.dstack([skin, gloss * canvas.look.gloss * 255 * 0.42])


def _pores(picture: Array, canvas: _Canvas) -> None:
    """Fine grain that the light catches."""
    size, random = picture.shape[:2], canvas.random
    grain = 0.5 * smooth_noise(size, (canvas.cm * 0.045,) * 2, random) + 0.5 * smooth_noise(
        size, (canvas.cm * 0.11,) * 2, random
    )
    picture[..., :3] *= (1 + 0.022 * grain)[..., None]
    picture[..., 3] *= (1 + 0.2 * grain).clip(0.2, 2)


def _freckles(picture: Array, where: Array, canvas: _Canvas) -> None:
    size = picture.shape[:2]
    cheeks = np.sum([_spot(where, np.array([side * 3.2, 2.9, 0]), (2.4, 1.6, 9)) for side in (-1, 0, 1)], 0)
    many = cv2.resize(cheeks.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    dots = smooth_noise(size, (canvas.cm * 0.09,) * 2, canvas.random) + 0.6 * smooth_noise(
        size, (canvas.cm * 0.6,) * 2, canvas.random
    )
    share = step(dots, 2.6, 3.3) * (many * 1.4 * canvas.look.freckles).clip(0, 0.5)
    blend(picture[..., :3], np.array(canvas.look.skin) * [0.74, 0.62, 0.56], share)


def _tint(picture: Array, color: Array, patch: Patch, strength: float) -> None:
    """Move the colour of a part towards another."""
    part, share = patch
    blend(picture[part][..., :3], color, (strength * share).clip(0, 1))


def _eyes(picture: Array, canvas: _Canvas) -> None:
    """Lids: a crease above, a shade at the lashes."""
    skin = np.array(canvas.look.skin)
    for outline, lid in ((LEFT_EYE_OUTLINE, LEFT_UPPER_LID), (RIGHT_EYE_OUTLINE, RIGHT_UPPER_LID)):
        edge = canvas.points[list(outline)]
        upper = canvas.points[[outline[0], *lid, outline[8]]]
        _tint(picture, skin * [0.80, 0.74, 0.74], canvas.outline(edge, 0.28), 0.5)
        share = np.linspace(-1, 1, len(upper))[:, None]
        crease = upper + (upper - edge.mean(0)) * [0.06, 0.1] - [0, 0.30 * canvas.cm] * (1 - 0.55 * np.square(share))
        _tint(picture, skin * [0.56, 0.46, 0.44], canvas.line(crease, 0.05, 0.045), 0.75)
        _tint(
            picture, skin * [0.66, 0.56, 0.54], canvas.line(crease + np.array([0, 0.08 * canvas.cm]), 0.12, 0.12), 0.6
        )
        _tint(picture, skin * [0.22, 0.15, 0.13], canvas.line(upper, 0.13, 0.03), 0.95)
        lower = canvas.points[[outline[0], *outline[:8:-1], outline[8]]]
        _tint(picture, skin * [0.62, 0.42, 0.40], canvas.line(lower, 0.08, 0.04), 0.55)


def _nose(picture: Array, canvas: _Canvas) -> None:
    skin = np.array(canvas.look.skin)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    for nostril in NOSTRILS:
        hole = canvas.points[list(nostril)]
        middle, width = hole.mean(0), np.abs(hole[:, 0] - hole[:, 0].mean()).max()
        across = np.sign(canvas.size / 2 - middle[0])
        oval = np.stack(
            [width * np.cos(angle), 0.16 * canvas.cm * np.sin(angle) + 0.25 * across * width * np.cos(angle)], 1
        )
        _tint(picture, skin * [0.24, 0.13, 0.12], canvas.outline(middle + oval, 0.07), 0.92)


def _lips(picture: Array, canvas: _Canvas) -> Patch:
    """Paint the lips; returns where they are."""
    patch = part, share = canvas.outline(canvas.points[list(OUTER_LIPS)], 0.07)
    lips, lines = (
        np.array(canvas.look.lips, np.float32),
        smooth_noise(share.shape, (canvas.cm * 0.9, canvas.cm * 0.1), canvas.random),
    )
    _tint(picture, lips, patch, 0.92)
    picture[part][..., :3] *= (1 - 0.05 * share * lines.clip(-1.5, 1.5))[..., None]
    _tint(picture, lips * [0.70, 0.62, 0.62], canvas.outline(canvas.points[list(UPPER_LIP_OUTLINE)], 0.08), 0.45)
    for edge in (INNER_UPPER_LIP, INNER_LOWER_LIP):  # without the corners, where both would add up
        _tint(picture, lips * [0.42, 0.30, 0.30], canvas.line(canvas.points[list(edge)], 0.10, 0.05), 0.7)
    picture[part][..., 3] += 255 * 0.10 * share
    wet, shine = canvas.line(canvas.points[[180, 85, 16, 315, 404]], 0.22, 0.12)
    picture[wet][..., 3] += (
        255
        * 0.30
        * shine
        * (1 + 0.5 * smooth_noise(shine.shape, (canvas.cm, canvas.cm * 0.1), canvas.random)).clip(0, 2)
    )
    return patch


def _beard(picture: Array, where: Array, lips: Patch, canvas: _Canvas) -> None:
    """Short hairs below a line from the ears to the nose; of a shaved face the shade of their roots."""
    look, size = canvas.look, picture.shape[:2]
    if not look.beard:
        return
    line = np.interp(np.abs(where[..., 0]), [0, 1.3, 2.4, 3.4, 5.6, 7.2], [5.5, 5.4, 5.9, 6.5, 5.9, 1.0])
    depth = where[..., 1] - line + 0.12 * smooth_noise(where.shape[:2], (canvas.cm / COARSE * 0.4,) * 2, canvas.random)
    depth -= 1.6 * _spot(where, canvas.rest[17] + [0, 0.5, 0], (0.9, 0.35, 5))
    share: Array = cv2.resize(step(depth, -0.15, 0.55).astype(np.float32), size)
    share[lips[0]] *= (1 - lips[1] * 1.6).clip(0, 1)
    share *= cv2.resize(step(where[..., 2], 9.5, 7.5).astype(np.float32), size)
    hairs = smooth_noise(size, (canvas.cm * 0.10, canvas.cm * 0.05), canvas.random)
    blend(picture[..., :3], look.hair, share * look.beard * (0.72 + 0.3 * hairs).clip(0.2, 1))
    picture[..., 3] *= 1 - 0.7 * share


def _brows(picture: Array, canvas: _Canvas) -> None:
    """Hairs, upright beside the nose, lying outwards further out, over a soft shade."""
    hair = np.array(canvas.look.hair, np.float32) * 0.85
    for brow in BROWS:
        upper, lower = canvas.points[list(brow[:5])], canvas.points[list(brow[:4:-1])]
        patch = part, _ = canvas.outline(canvas.points[list(brow)], 0.12)
        _tint(picture, hair, patch, 0.5)
        along, across = (
            canvas.random.uniform(0, 1, STROKES) ** 0.9,
            canvas.random.uniform(-0.05, 0.95, STROKES)[:, None],
        )
        knots = np.linspace(0, 1, 5)
        top, bottom = (np.stack([np.interp(along, knots, edge[:, k]) for k in (0, 1)], 1) for edge in (upper, lower))
        root = bottom + (top - bottom) * across
        outwards = np.sign(upper[0, 0] - upper[4, 0]) * np.array([1.0, 0.0])
        slope = (upper[0] - upper[4]) / np.linalg.norm(upper[0] - upper[4])
        upright = step(along, 0.55, 1.0)[:, None]
        lying = slope + [0, -0.28] + (across > 0.6) * [0, 0.35]
        direction = (outwards * 0.35 + [0, -1]) * upright + lying * (1 - upright)
        direction += canvas.random.normal(0, 0.16, (STROKES, 2))
        length = canvas.cm * canvas.random.uniform(0.38, 0.68, STROKES) * (1 - 0.25 * along)
        tip = root + direction / np.linalg.norm(direction, axis=1, keepdims=True) * length[:, None]
        strokes = np.zeros(picture[part].shape[:2], np.uint8)
        lines = _fixed(np.stack([root, tip], 1) - [part[1].start, part[0].start])
        cv2.polylines(strokes, list(lines), False, (235,), max(1, round(canvas.cm / 30)), cv2.LINE_AA, 4)
        _tint(picture, hair * 0.72, (part, strokes.astype(np.float32) / 255), 0.8)


def _ears(picture: Array, canvas: _Canvas) -> None:
    """Both lower corners of the texture: redder skin, darker in the hollow and behind the rim."""
    size = canvas.size
    rows = slice(round(0.84 * size), size)
    y, x = np.mgrid[rows, 0:size].astype(np.float32) / size
    skin = np.array(canvas.look.skin, np.float32)
    for side in (-1, 1):
        part = slice(0, round(0.14 * size)) if side < 0 else slice(size - round(0.14 * size), size)
        middle = ear_places(side, EAR[None])[0]
        ear = picture[rows, part]
        ear[..., :3] = skin * [1.0, 0.88, 0.85]
        across, down = (x[:, part] - middle[0]) / 0.026, (y[:, part] - middle[1]) / 0.044
        blend(
            ear[..., :3],
            skin * [0.50, 0.34, 0.31],
            0.85 * np.exp(-np.square(across / 0.4) - np.square((down - 0.1) / 0.34)),
        )
        ring = np.exp(-np.square((np.hypot(across, down) - 0.72) / 0.07)) * step(down, 0.55, 0.2)
        blend(ear[..., :3], skin * [0.66, 0.48, 0.44], 0.6 * ring)
        ear[..., 3] = 60 * canvas.look.gloss
