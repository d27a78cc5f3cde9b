"""Light from pictures: what a background throws on the person before it, and panoramas of all around."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError, check_readable
from avatar.core.light import DISPLAY, LUMINANCE, coefficients, products
from avatar.core.pictures import PictureTooLargeError, check_pixels
from avatar.scene.lamps import irradiance, log_light

GRID = (9, 16)  # parts of a background that light is taken from
WIDE, HIGH, DEEP = 1.2, 0.8, 0.7  # where its edges stand, and how far behind the person, by distance
MIRRORED = 0.7  # of a background's light, what comes from before the person: a room goes on behind the camera
WHITE = 1.2  # linear; what a camera shows as 1 may be a window, and counts six times as much as .55 does
COLOURED, MOST_COLOUR = 0.5, 0.2  # of its colour, as the room is less coloured than what one sees; log light, at most
SECONDS = 1.0  # in which light follows a film: as slow as a cloud, so that nothing flickers

CELLS = (32, 64)  # parts of a panorama
MOST_OF_ALL = 0.05  # of a panorama's other light, what a single pixel may add: else it is a fault of the camera
BRIGHT = 0.001  # share of pixels that may be such faults

Array = np.ndarray


def light_of_picture(picture: Tensor) -> Tensor:
    """Log light [3, 4, 4] of a background [H, W, 3] uint8, from its low frequencies."""
    step = max(1, min(picture.shape[0] // (8 * GRID[0]), picture.shape[1] // (8 * GRID[1])))
    values = picture[::step, ::step].permute(2, 0, 1)[None].float().cpu() / 255
    cells = functional.adaptive_avg_pool2d(values.pow(DISPLAY), GRID)[0].permute(1, 2, 0)
    cells = cells / (WHITE - cells)
    grey = (cells @ torch.tensor(LUMINANCE))[..., None]
    radiance = (grey + COLOURED * (cells - grey) + 1e-3).flatten(0, 1)
    v, u = torch.meshgrid(*(torch.linspace(-1 + 1 / count, 1 - 1 / count, count) for count in GRID), indexing="ij")
    behind = torch.stack([WIDE * u, HIGH * v, torch.full_like(u, DEEP)], -1).flatten(0, 1)
    directions = functional.normalize(torch.cat([behind, behind * torch.tensor([1.0, 1.0, -1.0])]), dim=1)
    return _less_coloured(log_light(irradiance(directions, torch.cat([radiance, MIRRORED * radiance]))))


def _less_coloured(light: Tensor) -> Tensor:
    """A log light [3, 4, 4] whose colours differ from grey by MOST_COLOUR at most on what the camera sees."""
    grey = torch.einsum("c,cij->ij", torch.tensor(LUMINANCE), light)
    colour = light - grey
    seen = functional.normalize(torch.tensor([[0.0, 0, -1], [1, 0, -1], [-1, 0, -1], [0, 1, -1], [0, -1, -1]]), dim=1)
    most = float((products(seen) @ coefficients(colour).mT).abs().amax())
    return grey + colour * min(1.0, MOST_COLOUR / max(most, 1e-9))


def light_of_panorama(path: Path) -> Tensor:
    """Log light [3, 4, 4] of an equirectangular panorama whose middle lies behind the person. Raises: UserError."""
    radiance = read_panorama(path)
    height = len(radiance)
    area = np.cos((0.5 - (np.arange(height) + 0.5) / height) * math.pi)[:, None, None]
    energy = area * np.nan_to_num(radiance, nan=0.0, posinf=0.0).clip(0)
    if energy.sum() <= 0:
        raise UserError(f"{path}: is black; a panorama without light lights nothing")
    total = energy.sum(-1)
    few = max(1, int(BRIGHT * total.size))
    others = np.partition(total.ravel(), -few)[:-few].sum()
    if others > 0:
        energy *= np.minimum(1, MOST_OF_ALL * others / total.clip(1e-30))[..., None]
    whole = torch.from_numpy(energy).permute(2, 0, 1)[None].float()
    cells = functional.adaptive_avg_pool2d(whole / whole.mean(), CELLS)[0].flatten(1).mT
    up = (0.5 - (torch.arange(CELLS[0]) + 0.5) / CELLS[0]) * math.pi
    across = ((torch.arange(CELLS[1]) + 0.5) / CELLS[1] - 0.5) * 2 * math.pi
    up, across = torch.meshgrid(up, across, indexing="ij")
    directions = torch.stack([up.cos() * across.sin(), -up.sin(), up.cos() * across.cos()], -1).flatten(0, 1)
    return log_light(irradiance(directions, cells))


def read_panorama(path: Path) -> Array:
    """The linear radiance [H, W, 3] of a .hdr or .exr file. Raises: UserError."""
    check_readable(path, "panorama")
    try:
        return _read_exr(path) if path.suffix.lower() == ".exr" else _read_hdr(path)
    except PictureTooLargeError as error:
        raise UserError(f"{path}: {error}; make it smaller first") from error


def _read_hdr(path: Path) -> Array:
    import cv2

    data = path.read_bytes()
    size = re.search(rb"\n[-+]Y (\d{1,7}) [-+]X (\d{1,7})\n", data[:65536]) if data[:2] == b"#?" else None
    if size is None:
        raise UserError(f"{path}: is not a Radiance picture (.hdr) that can be read")
    check_pixels(int(size[2]), int(size[1]))
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise UserError(f"{path}: is a damaged panorama; export it again")
    return np.asarray(picture[..., ::-1], np.float32)


def _read_exr(path: Path) -> Array:
    try:
        import OpenEXR
    except ImportError as error:
        raise UserError(
            f"{path}: .exr needs OpenEXR; run pip install 'avatar-builder[panorama]', or use .hdr"
        ) from error
    try:
        low, high = OpenEXR.File(str(path), header_only=True).header()["dataWindow"]
        check_pixels(int(high[0] - low[0] + 1), int(high[1] - low[1] + 1))
        channels = OpenEXR.File(str(path)).channels()
        whole = channels.get("RGB") or channels.get("RGBA") or channels.get("Y")
        if whole is None:
            raise ValueError("no red, green and blue")
        pixels = np.asarray(whole.pixels, np.float32)
    except PictureTooLargeError:
        raise
    except Exception as error:  # the library raises RuntimeError, KeyError and others for what is damaged
        raise UserError(f"{path}: is not an OpenEXR panorama that can be read ({error})".partition("\n")[0]) from error
    return pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
