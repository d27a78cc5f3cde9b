"""make_photo_take: photos of one person -> a Take of a frame each, the first the one that counts most."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch

from avatar.core.consent import check_source
from avatar.core.files import UserError
from avatar.core.geometry import Camera
from avatar.core.motion_space import load_space
from avatar.core.take import PHOTOS, Take, Track, open_take, save_track, write_take
from preprocess.best_view import rank_views
from preprocess.crop import choose_crop, pick_face
from preprocess.detectors import Box, PersonDetector, open_detector
from preprocess.matte import fill_behind, refine_matte
from preprocess.photo_checks import check_human, limits, measure_photo, refuse, turned_degrees
from preprocess.photo_files import Photo
from preprocess.photo_fit import FPS, fit_photos
from preprocess.report import write_photo_report
from preprocess.request import TakeRequest, reuse_take
from preprocess.take_folder import TakeFolder, resumable, write_picture

SMALL_SIDE = 640  # px that faces are looked for at
SETTLING = 3  # looks at a picture: landmarks are found about those of the look before
MOST_PHOTOS = 8
BEST_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]

Array = np.ndarray


@dataclass(frozen=True)
class _View:
    """A photo's face in its square."""

    photo: Photo
    crop: tuple[float, float, float]  # left, top, side in px of the photo's picture
    picture: Array  # [S, S, 3] uint8
    landmarks: Array  # [478, 3] px
    mask: Array  # [S / 2, S / 2] of the person, 0..1


def make_photo_take(
    photos: Sequence[Photo], out: Path, request: TakeRequest | None = None, *, device: torch.device
) -> Take:
    """Make a Take of photos of one person, written whole or not at all; a finished one is used again.

    Warns of what limits an avatar of them. Raises: UserError for photos that nothing can be made of, naming them.
    """
    request = request or TakeRequest()
    if not 1 <= len(photos) <= MOST_PHOTOS:
        raise UserError(f"{photos[0].name if photos else 'photos'}: give 1 to {MOST_PHOTOS} photos of one person")
    source = _source(photos, request.consent)
    check_source(request.consent, source["sha256"], source["name"])
    if out.exists():
        return reuse_take(out, source, request.record(), 0.0)
    detector = open_detector(request.tracker, device)
    crops = [_crop(photo, request.face, detector) for photo in photos]
    size = request.size_of(max(side for _, _, side in crops))
    views = [_view(photo, crop, size, detector) for photo, crop in zip(photos, crops, strict=True)]
    detector.close()
    views, track, camera = _fit(views, size)
    key = json.dumps([version("avatar-builder"), source["sha256"], request.record()])
    with resumable(out, key) as part:
        _write(part, views, track, camera, source, request)
    return open_take(out)


def _source(photos: Sequence[Photo], consent: str) -> dict[str, str]:
    first, others = photos[0], len(photos) - 1
    digests = [photo.sha256 for photo in photos]
    return {
        "name": first.name + (f" and {others} more" if others else ""),
        "sha256": digests[0] if not others else hashlib.sha256("".join(digests).encode()).hexdigest(),
        "fps": f"{FPS:g}",
        "consent": consent,
        PHOTOS: str(len(photos)),
    }


def _crop(photo: Photo, which: str, detector: PersonDetector) -> tuple[float, float, float]:
    """The square about the person. Raises: UserError without a human face."""
    height, width = photo.picture.shape[:2]
    return choose_crop([_find_face(photo, which, detector)], width, height)


def _view(photo: Photo, crop: tuple[float, float, float], size: int, detector: PersonDetector) -> _View:
    """Raises: UserError without a human face."""
    picture = cut_out(photo.picture, crop, size)
    points = detector.landmarks(np.stack([picture] * SETTLING))[-1]
    if points is None:
        raise UserError(f"{photo.name}: the face cannot be followed; use a photo that shows all of it, from the front")
    mask = detector.masks(picture[None])[0]
    x, y = (points[:, :2] / 2).round().astype(int).T.clip(0, len(mask) - 1)
    _, _, unlike = fit_photos(torch.from_numpy(points[None]).float(), load_space(), size)
    check_human(float(mask[y, x].mean()), unlike, photo.name)
    return _View(photo, crop, picture, points, mask)


def _find_face(photo: Photo, which: str, detector: PersonDetector) -> Box:
    height, width = photo.picture.shape[:2]
    scale = min(1.0, SMALL_SIDE / max(height, width))
    small = (max(2, round(width * scale)), max(2, round(height * scale)))
    boxes = detector.faces(cv2.resize(photo.picture, small, interpolation=cv2.INTER_AREA)[None])[0]
    if not boxes:
        raise UserError(f"{photo.name}: no human face found; it must be whole, upright and not an animal's")
    (box,) = pick_face([boxes], which, photo.name)
    assert box is not None  # of boxes that are there one is picked
    left, top, wide, high = (value / scale for value in box)
    return left, top, wide, high


def cut_out(picture: Array, crop: tuple[float, float, float], size: int) -> Array:
    """The square (left, top, side in px) of a picture [H, W, 3], as [size, size, 3]."""
    left, top, side = crop
    x, y, whole = round(left), round(top), round(side)
    part = picture[y : y + whole, x : x + whole]
    shrunk = part.shape[0] > size
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_CUBIC)


def _fit(views: list[_View], size: int) -> tuple[list[_View], Track, Camera]:
    """The views, the best one first, and the track of them."""
    points = torch.from_numpy(np.stack([view.landmarks for view in views])).float()
    turned = [fit_photos(one[None], load_space(), size)[0] for one in points]
    turn = torch.tensor(np.concatenate([turned_degrees(track) for track in turned])).deg2rad()
    order = rank_views(points, turn).argsort(descending=True).tolist()
    track, camera, _ = fit_photos(points[order], load_space(), size)
    return [views[at] for at in order], track, camera


def _write(
    part: Path, views: list[_View], track: Track, camera: Camera, source: dict[str, str], request: TakeRequest
) -> None:
    folder, first = TakeFolder(part), views[0]
    folder.create()
    mattes = [refine_matte(view.picture, view.mask) for view in views]
    for frame, (view, matte) in enumerate(zip(views, mattes, strict=True)):
        write_picture(folder.frame_path(frame), view.picture, BEST_JPEG)
        folder.write_matte(frame, matte)
    plate, seen = fill_behind(first.picture, mattes[0])
    write_picture(part / "background.png", plate)
    write_picture(part / "frame.jpg", first.photo.picture, BEST_JPEG)
    save_track(track, part / "track.safetensors")
    quality = _measure(views, track) | {"plate_seen": seen, "camera_px": 0.0, "plate_error": 0.0}
    for limit in limits(quality):
        warnings.warn(f"{source['name']}: {limit}", stacklevel=2)
    take = Take(
        root=part,
        fps=FPS,
        length=len(views),
        camera=camera,
        crop=first.crop,
        train=range(len(views)),
        test=range(len(views), len(views)),
        excluded=(),
        source=source,
        request=request.record(),
        quality=quality,
        space_id=load_space().id,
    )
    write_take(take, part)
    write_photo_report(take, track, limits(quality))


def _measure(views: list[_View], track: Track) -> dict[str, float]:
    """Figures of the first photo; each is refused where nothing can be made of it."""
    found = []
    for view, turned in zip(views, turned_degrees(track), strict=True):
        scale = view.crop[2] * view.photo.reduced / len(view.picture)
        found.append(measure_photo(view.picture, view.landmarks, float(turned), scale))
        refuse(found[-1], view.photo.name)
    return {"usable": 1.0, "face_found": 1.0, "eye_px": found[0]["source_eye_px"], **found[0]}
