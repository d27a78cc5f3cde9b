"""What photos can be used for: which are no person's, and what limits the others."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch

from avatar.core.files import UserError
from avatar.core.geometry import eye_distance
from avatar.core.landmarks import CHEEKBONES, LEFT_EYE, LOWER_LIP, RIGHT_EYE, UPPER_LIP
from avatar.core.take import Track
from preprocess.fit import lid_ratio
from preprocess.mouth_cover import load_classifier, sample_mouth, sample_skin

# Bounds lie between 35 photographs, paintings and cartoons, and a dog, all of which were looked at (docs/figures.md)
LEAST_PERSON = 0.8  # mean mask of a person over the face: people and drawings .97 and more, a dog .5
MOST_UNLIKE_CM = 0.3  # of `fit_photos`: people and drawings up to .21, a dog .4
LEAST_EYE_PX = 12.0  # between the outer eye corners: below, landmarks are guesses
FEW_EYE_PX = 60.0
MOST_TURNED, MUCH_TURNED = 50.0, 20.0  # degrees
OPEN_MOUTH = 0.06  # lip gap in eye distances: teeth show
SHUT_EYES = 0.13  # lid gap over eye width; open ones have .2 and more
COVERED_ODDS = -2.5  # log odds of a free mouth
DARK_GLASSES = 0.45  # brightness about the eyes, of the cheeks'
AROUND_EYES = (230, 450, 231, 451, 27, 257)
"""Skin below and above the eyes."""

Array = np.ndarray


def check_human(person: float, unlike: float, name: str) -> None:
    """Raise UserError for a face that is no person's: an animal's.

    person: mean mask 0..1 of a person over the face; unlike: rms cm of `fit_photos`.
    """
    if person < LEAST_PERSON or unlike > MOST_UNLIKE_CM:
        raise UserError(f"{name}: shows no human face; an animal's has other bones, and cannot be made to speak")


def measure_photo(picture: Array, points: Array, turned: float, scale: float) -> dict[str, float]:
    """Figures of a photo in its crop [S, S, 3] uint8, of landmarks [478, 3] px.

    turned: degrees to the side; scale: px of the source in a px of the crop. Names are those of docs/formats.md.
    """
    distance = float(eye_distance(points))
    gap = float(np.linalg.norm(points[UPPER_LIP, :2] - points[LOWER_LIP, :2])) / distance
    lids = [float(lid_ratio(points[None], eye)[0]) for eye in (LEFT_EYE, RIGHT_EYE)]
    odds = load_classifier()(sample_mouth(picture, points)[None], sample_skin(picture, points)[None])[0]
    return {
        "source_eye_px": distance * min(1.0, scale),
        "turned_degrees": abs(turned),
        "mouth_gap": gap,
        "lid_gap": float(np.mean(lids)),
        "mouth_odds": float(odds),
        "eye_light": _eye_light(picture, points),
    }


def _eye_light(picture: Array, points: Array) -> float:
    """How bright the skin about the eyes is against the cheeks: sunglasses darken it."""
    grey = cv2.blur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (5, 5)).astype(np.float32)

    def light(landmarks: tuple[int, ...]) -> float:
        x, y = points[list(landmarks), :2].round().astype(int).T.clip(0, len(grey) - 1)
        return float(np.median(grey[y, x]))

    return light(AROUND_EYES) / max(light(CHEEKBONES), 1.0)


def refuse(figures: Mapping[str, float], name: str) -> None:
    """Raise UserError for a photo that nothing can be made of."""
    if figures["source_eye_px"] < LEAST_EYE_PX:
        raise UserError(
            f"{name}: the face has only {figures['source_eye_px']:.0f} px between the eyes; use a larger one"
        )
    if figures["turned_degrees"] > MOST_TURNED:
        raise UserError(f"{name}: shows a profile; use a photo that is turned by at most {MOST_TURNED:.0f} degrees")


def limits(figures: Mapping[str, float]) -> tuple[str, ...]:
    """What limits an avatar of a photo, in words."""
    turned, eyes = figures["turned_degrees"], figures["source_eye_px"]
    found = (
        (eyes < FEW_EYE_PX, f"the face has only {eyes:.0f} px between the eyes, so that it will be blurred"),
        (turned > MUCH_TURNED, f"the face is turned by {turned:.0f} degrees; its far side is made up"),
        (figures["mouth_gap"] > OPEN_MOUTH, "the mouth is open; the shut one is made up"),
        (figures["lid_gap"] < SHUT_EYES, "the eyes are shut or nearly so; use a photo with open eyes"),
        (figures["mouth_odds"] < COVERED_ODDS, "something may cover the mouth; it would move with the lips"),
        (figures["eye_light"] < DARK_GLASSES, "the eyes are in the dark, as of sunglasses; they do not blink there"),
    )
    return tuple(words for bad, words in found if bad)


def turned_degrees(track: Track) -> Array:
    """How far heads are turned to the side [N], degrees."""
    return torch.rad2deg(torch.asin(track.rotation[:, 0, 2].clamp(-1, 1))).numpy()
