"""Fit the classifier of covered mouths: python recipes/mouth_cover.py TAKE... -o mouth_cover.safetensors

Takes of many people, whose mouths are free in nearly all frames. Each face is shown as it is, changed as cameras and
light would change it, and with something drawn over at least 40 % of its lips. Figures are of people left out of the
fit. See avatar/assets/mouth_cover.md for what the packaged one was fitted to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

from avatar.core.files import UserError, check_writable, whole
from avatar.core.geometry import eye_distance
from avatar.core.landmarks import JAWLINE, MOUTH_EXTREMES, NOSE_BRIDGE, NOSE_TIP, OUTER_LIPS
from avatar.core.take import open_take, read_frames, read_track
from preprocess.mouth_cover import SURELY, MouthClassifier, describe, sample_mouth, sample_skin

FACES = 20  # of a Take, spread over it
FREE, COVERED, ELSEWHERE = 4, 8, 1  # examples of each face
JITTER_FREE, JITTER_COVERED = 0.025, 0.07  # eye distances: a mesh over a mask lies where it can
LEAST_HIDDEN = 0.4  # of the lips
RIDGE = 30.0
ITERATIONS = 12  # of Newton
PARTS = 5  # people are left out a part at a time
DOUBTFUL = -1.5  # log odds, of a fit without this person, below which a face that should be free is not learned from
SURGICAL = (120.0, 170.0, 220.0)  # RGB of the usual mask

Array = np.ndarray
Random = np.random.Generator


@dataclass(frozen=True)
class Face:
    """A face that nothing covers."""

    person: int
    picture: Array  # [S, S, 3] uint8 RGB
    points: Array  # [478, 2] px
    skin: Array  # [3] uint8

    @property
    def eyes(self) -> float:
        """Distance of the outer eye corners, px."""
        return float(eye_distance(self.points))

    @property
    def mouth(self) -> Array:
        """Middle of the lips [2] px."""
        return np.asarray(self.points[list(MOUTH_EXTREMES)].mean(0))


@dataclass(frozen=True)
class Examples:
    """What the classifier is fitted to."""

    features: Array  # [N, D]
    free: Array  # [N] bool
    people: Array  # [N]


def read_faces(root: Path, person: int) -> Iterator[Face]:
    """Faces of a Take."""
    take = open_take(root)
    track = read_track(take)
    seen = np.flatnonzero(track.confidence.numpy() >= 1)
    for frame in np.unique(seen[np.linspace(0, len(seen) - 1, FACES).round().astype(int)]).tolist():
        picture, points = read_frames(take, [frame])[0].numpy(), track.landmarks[frame, :, :2].numpy()
        yield Face(person, picture, points, sample_skin(picture, points))


def moved(points: Array, share: float, eyes: float, random: Random) -> Array:
    """Points with noise of a share of the eyes' distance."""
    return points + random.normal(0, share * eyes, points.shape)


def refilm(picture: Array, random: Random) -> Array:
    """A picture by another camera in another light: blurred, dimmed, coloured, grey, noisy."""
    values = picture
    if random.random() < 0.5:
        share, size = random.uniform(0.25, 0.9), picture.shape[1::-1]
        small = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        values = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    values = values.astype(np.float32) * random.uniform(0.6, 1.3)
    kind = random.random()
    if kind < 0.15:
        values = np.repeat(values.mean(-1, keepdims=True), 3, -1)
    elif kind < 0.4:
        values = values * random.uniform(0.85, 1.15, 3)
    return np.clip(values + random.normal(0, random.uniform(0, 5), values.shape), 0, 255).astype(np.uint8)


def some_color(random: Random) -> Array:
    """Of a thing that covers mouths: white, black, as surgical masks, or any."""
    kind = random.random()
    if kind < 0.25:
        return random.uniform(200, 255) * random.uniform(0.93, 1, 3)
    if kind < 0.5:
        return random.uniform(10, 60) * np.ones(3)
    if kind < 0.65:
        return np.array(SURGICAL) * random.uniform(0.7, 1.15)
    return random.uniform(0, 255, 3)


def shade(color: Array, size: int, random: Random) -> Array:
    """A picture [S, S, 3] of one colour that is not lit evenly."""
    down, across = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tilt = random.normal(0, 0.25, 2)
    light = 1 + tilt[0] * across + tilt[1] * down - random.uniform(0, 0.4) * across**2
    return np.asarray(np.clip(color * light[..., None], 0, 255))


def to_pixels(values: Array) -> tuple[int, int]:
    """A point or radii [2] as OpenCV draws them."""
    return round(float(values[0])), round(float(values[1]))


def to_ink(color: Array) -> tuple[float, float, float]:
    """A colour [3] as OpenCV draws it."""
    red, green, blue = np.clip(color, 0, 255).tolist()
    return red, green, blue


Cover = tuple[Array, Array]
"""What stands before a face: its place [S, S] uint8, 255 where it is, and its picture [S, S, 3]."""


def draw_mask(face: Face, middle: Array, random: Random) -> Cover:
    """A mask from ear to ear with folds."""
    size, place = len(face.picture), np.zeros(face.picture.shape[:2], np.uint8)
    share = random.uniform(0, 0.8)
    top = face.points[NOSE_BRIDGE] * (1 - share) + face.points[NOSE_TIP] * share
    outline = np.concatenate([face.points[list(JAWLINE)], top[None]])
    cv2.fillPoly(place, [np.rint(outline).astype(np.int32)], 255)
    color = some_color(random)
    picture = shade(color, size, random)
    for _ in range(random.integers(0, 5)):
        height = middle[1] + random.uniform(-0.5, 0.6) * face.eyes
        ends = height + random.uniform(-0.1, 0.1, 2) * face.eyes
        ink = to_ink(color + random.uniform(-35, 25))
        cv2.line(picture, to_pixels((0, ends[0])), to_pixels((size, ends[1])), ink, int(random.integers(1, 5)))
    return place, picture


def draw_box(face: Face, middle: Array, random: Random) -> Cover:
    """A flat square, of skin's colour now and then."""
    place = np.zeros(face.picture.shape[:2], np.uint8)
    half, middle = random.uniform(0.35, 0.7, 2) * face.eyes, middle + random.normal(0, 0.05 * face.eyes, 2)
    cv2.rectangle(place, to_pixels(middle - half), to_pixels(middle + half), 255, -1)
    own = face.skin * random.uniform(0.7, 1.25) * random.uniform(0.9, 1.1, 3)
    return place, np.ones(face.picture.shape) * (some_color(random) if random.random() < 0.6 else own)


def draw_hand(face: Face, middle: Array, random: Random) -> Cover:
    """A hand of the face's own colour: dark lines between its fingers, nails now and then."""
    eyes, size, place = face.eyes, len(face.picture), np.zeros(face.picture.shape[:2], np.uint8)
    color = face.skin * random.uniform(0.7, 1.25) * random.uniform(0.93, 1.07, 3)
    angle, middle = random.uniform(0, np.pi), middle + random.normal(0, 0.08 * eyes, 2)
    along = np.array([np.cos(angle), np.sin(angle)])
    across, width, count = np.array([-along[1], along[0]]), random.uniform(0.15, 0.3) * eyes, int(random.integers(3, 7))
    cv2.ellipse(place, to_pixels(middle), to_pixels((0.55 * eyes, 0.55 * eyes)), 0, 0, 360, 255, -1)
    picture = shade(color, size, random)
    for finger in range(-count, count + 1):
        between = middle + across * (finger + 0.5) * width
        start = between - along * eyes * random.uniform(0.5, 1.2)
        stop = between + along * eyes * random.uniform(0.3, 1.2)
        ink = to_ink(color * random.uniform(0.5, 0.85))
        cv2.line(picture, to_pixels(start), to_pixels(stop), ink, int(random.integers(1, 4)))
    for _ in range(3 if random.random() < 0.5 else 0):
        nail, radii = middle + random.normal(0, 0.3 * eyes, 2), (0.06 * eyes + 1, 0.09 * eyes + 1)
        cv2.ellipse(
            picture, to_pixels(nail), to_pixels(radii), float(np.degrees(angle)), 0, 360, to_ink(1.15 * color), -1
        )
    return place, cv2.GaussianBlur(picture, (0, 0), random.uniform(0.5, 2.5))


def draw_thing(face: Face, middle: Array, random: Random) -> Cover:
    """A microphone, a cup: round, smooth or grained."""
    size, place = len(face.picture), np.zeros(face.picture.shape[:2], np.uint8)
    radius, middle = random.uniform(0.4, 0.7) * face.eyes, middle + random.normal(0, 0.08 * face.eyes, 2)
    radii = to_pixels((radius, radius * random.uniform(0.8, 1.5)))
    cv2.ellipse(place, to_pixels(middle), radii, random.uniform(0, 180), 0, 360, 255, -1)
    grain = cv2.GaussianBlur(random.normal(0, 1, (size, size)), (0, 0), random.uniform(0.6, 2))[..., None]
    return place, shade(some_color(random), size, random) + grain * random.uniform(0, 60)


def draw_picture(face: Face, middle: Array, random: Random) -> Cover:
    """A piece of this very picture, turned and enlarged: anything with edges and colours as films have them."""
    size, place = len(face.picture), np.zeros(face.picture.shape[:2], np.uint8)
    matrix = cv2.getRotationMatrix2D(
        to_pixels(random.uniform(0, size, 2)), random.uniform(0, 360), random.uniform(0.7, 2.5)
    )
    corner = random.uniform(0.1, 0.9, 2) * size  # that comes to lie on the mouth
    matrix[:, 2] = middle - matrix[:, :2] @ corner
    picture = cv2.warpAffine(face.picture, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    radius = random.uniform(0.4, 0.8) * face.eyes
    cv2.ellipse(place, to_pixels(middle), to_pixels((radius, 0.8 * radius)), random.uniform(-20, 20), 0, 360, 255, -1)
    return place, picture.astype(np.float64)


COVERS: tuple[Callable[[Face, Array, Random], Cover], ...] = (
    draw_mask,
    draw_box,
    draw_hand,
    draw_thing,
    draw_picture,
)


def cover(face: Face, random: Random) -> Array | None:
    """The face's picture with something before the mouth; None where too little of the lips is hidden."""
    middle = face.mouth
    if random.random() < 0.55:  # partly
        middle = middle + random.normal(0, 1, 2) * np.array([0.15, 0.25]) * face.eyes
    place, picture = COVERS[random.integers(len(COVERS))](face, middle, random)
    share = cv2.GaussianBlur(place, (0, 0), random.uniform(0.5, 1.5))[..., None] / 255
    lips = np.zeros_like(place)
    cv2.fillPoly(lips, [np.rint(face.points[list(OUTER_LIPS)]).astype(np.int32)], 255)
    if not lips.any() or (share[lips > 0] > 0.5).mean() < LEAST_HIDDEN:
        return None
    return np.clip(face.picture * (1 - share) + picture * share, 0, 255).astype(np.uint8)


def with_something_beside(face: Face, random: Random) -> Array:
    """The face's picture with a round thing beside its mouth, which is seen all the same."""
    side = np.array([random.choice([-1, 1]) * random.uniform(0.3, 0.5), random.uniform(0.35, 0.6)])
    radius = round(random.uniform(0.1, 0.22) * face.eyes)
    place = to_pixels(face.mouth + side * face.eyes)
    return np.asarray(cv2.circle(face.picture.copy(), place, radius, to_ink(some_color(random)), -1))


def elsewhere(face: Face, random: Random) -> Array:
    """Landmarks [478, 2] that lie where no mouth is, of another size now and then."""
    while True:
        shift = random.uniform(-1.6, 1.6, 2)
        if abs(shift[1]) > 0.45 or abs(shift[0]) > 0.6:
            break
    points, scale = face.points + shift * face.eyes, random.uniform(0.6, 1.6) if random.random() < 0.5 else 1.0
    return np.asarray(points.mean(0) + (points - points.mean(0)) * scale)


def make_examples(faces: list[Face], random: Random) -> Examples:
    """Mouths that are seen and that are covered, of all faces."""
    patches, skins, free, people = list[Array](), list[Array](), list[bool](), list[int]()

    def add(face: Face, picture: Array, points: Array, skin: Array, is_free: bool) -> None:
        patches.append(sample_mouth(picture, points))
        skins.append(skin)
        free.append(is_free)
        people.append(face.person)

    for face in faces:
        for number in range(FREE):
            source = with_something_beside(face, random) if number == FREE - 1 else face.picture
            picture = refilm(source, random) if number else source
            points = moved(face.points, JITTER_FREE if number else 0.0, face.eyes, random)
            add(face, picture, points, sample_skin(picture, points), True)
        for _ in range(COVERED):
            if (hidden := cover(face, random)) is not None:
                points = moved(face.points, JITTER_COVERED, face.eyes, random)
                picture = refilm(hidden, random)
                add(face, picture, points, sample_skin(picture, points), False)
        for _ in range(ELSEWHERE):
            picture = refilm(face.picture, random)
            add(face, picture, elsewhere(face, random), sample_skin(picture, face.points), False)
    parts = range(0, len(patches), 500)
    features = [describe(np.stack(patches[at : at + 500]), np.stack(skins[at : at + 500])) for at in parts]
    return Examples(np.concatenate(features), np.array(free), np.array(people))


def fit(features: Array, free: Array) -> MouthClassifier:
    """Logistic regression by Newton's method, on features [N, D] in units of their deviation."""
    mean, scale = features.mean(0), features.std(0) + 1e-3
    rows = np.concatenate([(features - mean) / scale, np.ones((len(features), 1))], 1)
    weight = np.zeros(rows.shape[1])
    for _ in range(ITERATIONS):
        likely = 1 / (1 + np.exp(-(rows @ weight).clip(-30, 30)))
        curvature = (rows * (likely * (1 - likely) + 1e-6)[:, None]).T @ rows + RIDGE * np.eye(len(weight))
        weight += np.linalg.solve(curvature, rows.T @ (free - likely) - RIDGE * weight)
    return MouthClassifier(*(part.astype(np.float32) for part in (mean, scale, weight)))


def odds_left_out(examples: Examples) -> Array:
    """Log odds [N] of each example, by a fit without its person."""
    odds = np.zeros(len(examples.free))
    for part in range(PARTS):
        out = examples.people % PARTS == part
        if out.any():
            odds[out] = fit(examples.features[~out], examples.free[~out]).odds(examples.features[out])
    return odds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "takes", nargs="+", type=Path, metavar="TAKE", help="folders of avatar preprocess, one a person"
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        check_writable(options.out)
        if len(options.takes) <= PARTS:
            raise UserError(f"give Takes of more than {PARTS} people, each in one Take")
        faces = [face for person, take in enumerate(options.takes) for face in read_faces(take, person)]
        examples = make_examples(faces, np.random.default_rng(options.seed))
        odds = odds_left_out(examples)
        known = ~(examples.free & (odds < DOUBTFUL))
        classifier = fit(examples.features[known], examples.free[known])
        with whole(options.out) as temporary:
            save_file(vars(classifier), temporary)
    except UserError as error:
        sys.exit(f"error: {error}")
    missed, wrong = odds[~examples.free] > SURELY, odds[examples.free] < SURELY
    print(f"{len(faces)} faces of {len(options.takes)} people; of people left out, with the bound of {SURELY}:")
    print(f"{wrong.mean():.2%} of the free mouths are taken for covered, {missed.mean():.1%} of the covered for free")
    print(f"left out of the fit as doubtful: {(~known).sum()} of {examples.free.sum()} free mouths")


if __name__ == "__main__":
    main()
