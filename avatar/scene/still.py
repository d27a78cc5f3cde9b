"""Pictures that stand still behind a person: files as viewers show them, colours, gradients, the blurred plate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageColor, ImageOps
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError, check_readable
from avatar.core.named_files import BLUR, GRADIENT
from avatar.core.pictures import PictureTooLargeError, open_picture

SRGB = "sRGB"  # in the name of a profile that changes nothing
BLUR_SHARE, MOST_BLUR = 0.02, 0.2  # of the picture's height: radius of the disc that a point becomes
COLOURS = (2, 8)  # of a gradient
DISPLAY = 2.2  # exponent from a picture's values to light

Shape = tuple[int, int]
"""Height and width, px."""


def read_background(choice: str, shape: Shape) -> Tensor:
    """A background [H, W, 3] uint8: the middle of a picture file that fills the shape, a colour, or a gradient.

    Raises: UserError when it is none of these.
    """
    if choice.startswith(GRADIENT):
        return draw_gradient(choice, shape)
    path = Path(choice)
    if not path.exists():
        return _colour(choice).expand(*shape, 3).contiguous()
    with open_still(path) as image:
        return as_tensor(fill(as_shown(image), shape))


@contextmanager
def open_still(path: Path) -> Iterator[Image.Image]:
    """A picture file, for a block. Raises: UserError, also when decoding it in the block fails."""
    check_readable(path, "picture")
    try:
        with open_picture(path) as image:
            yield image
    except PictureTooLargeError as error:
        raise UserError(f"{path}: {error}; make it smaller first") from error
    except ValueError as error:
        raise UserError(f"{path}: is not a picture that can be read ({error})") from error


def _colour(name: str) -> Tensor:
    """A colour [3] uint8. Raises: UserError."""
    try:
        return torch.tensor(ImageColor.getrgb(name)[:3], dtype=torch.uint8)
    except ValueError as error:
        raise UserError(f"background '{name}': is neither a picture file nor a colour like #20a040") from error


def fill(image: Image.Image, shape: Shape) -> Image.Image:
    """The middle of a picture that has a shape's proportions, at its size."""
    height, width = shape
    scale = min(image.width / width, image.height / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high)).resize((width, height))


def as_tensor(image: Image.Image) -> Tensor:
    """A picture in RGB as [H, W, 3] uint8."""
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)


def draw_gradient(choice: str, shape: Shape) -> Tensor:
    """A background [H, W, 3] uint8 of `gradient:COLOUR:COLOUR...[:DEGREES]`, mixed as light mixes.

    The first colour is above; with degrees it is turned clockwise, so that with 90 it is on the right.
    Noise of half a level keeps bands from showing.
    Raises: UserError.
    """
    parts = choice.removeprefix(GRADIENT).split(":")
    degrees = 0.0
    if len(parts) > 1 and parts[-1].lstrip("-").replace(".", "", 1).isdigit():
        degrees = float(parts.pop())
    if not COLOURS[0] <= len(parts) <= COLOURS[1]:
        raise UserError(
            f"background '{choice}': a gradient has {COLOURS[0]} to {COLOURS[1]} colours between its colons"
        )
    stops = (torch.stack([_colour(part) for part in parts]).float() / 255).pow(DISPLAY)
    height, width = shape
    turn = np.deg2rad(degrees)
    y = (torch.arange(height) + 0.5)[:, None] - height / 2
    x = (torch.arange(width) + 0.5)[None] - width / 2
    along = y * float(np.cos(turn)) - x * float(np.sin(turn))
    reach = abs(height / 2 * np.cos(turn)) + abs(width / 2 * np.sin(turn))
    at = (along / (2 * reach) + 0.5).clamp(0, 1) * (len(parts) - 1)
    first = at.floor().clamp(max=len(parts) - 2)
    mixed = torch.lerp(stops[first.long()], stops[first.long() + 1], (at - first)[..., None])
    noise = torch.rand(height, width, 1, generator=torch.Generator().manual_seed(0)) - 0.5
    return (255 * mixed.pow(1 / DISPLAY) + noise).round().clamp(0, 255).to(torch.uint8)


def blur_plate(choice: str, plate: Tensor, shape: Shape) -> Tensor:
    """An avatar's plate [S, S, 3] uint8 as [H, W, 3], out of focus: each point a disc, in linear light.

    choice: `blur` or `blur:SHARE`, the disc's radius as a share of the picture's height. Raises: UserError.
    """
    text = choice.removeprefix(BLUR).removeprefix(":")
    try:
        share = float(text or BLUR_SHARE)
    except ValueError:
        share = -1.0
    if not 0 < share <= MOST_BLUR:
        raise UserError(f"background '{choice}': write {BLUR}, or {BLUR}:SHARE with a share above 0, up to {MOST_BLUR}")
    filled = as_tensor(fill(Image.fromarray(plate.cpu().numpy()), shape))
    light = (filled.permute(2, 0, 1).float() / 255).pow(DISPLAY)
    radius = max(1.0, share * shape[0])
    reach = int(np.ceil(radius))
    bordered = functional.pad(light[None], (reach,) * 4, mode="replicate")[0]
    height, width = bordered.shape[1:]
    y, x = torch.meshgrid(torch.arange(-reach, reach + 1), torch.arange(-reach, reach + 1), indexing="ij")
    disc = (radius + 0.5 - torch.hypot(x.float(), y.float())).clamp(0, 1)
    kernel = torch.zeros(height, width)
    kernel[: 2 * reach + 1, : 2 * reach + 1] = disc / disc.sum()
    spectrum = torch.fft.rfft2(bordered) * torch.fft.rfft2(kernel)
    blurred = torch.fft.irfft2(spectrum, s=(height, width))[:, 2 * reach :, 2 * reach :]
    return (255 * blurred.clamp(0, 1).pow(1 / DISPLAY)).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def as_shown(image: Image.Image) -> Image.Image:
    """A picture in sRGB as viewers show it: turned by EXIF, colours by its profile, white where it is clear."""
    profile = image.info.get("icc_profile")
    turned = ImageOps.exif_transpose(image)
    if turned.mode in ("I;16", "I;16B", "I;16L", "I"):  # 16 bit grey, which `convert` would cut off at 255
        grey = np.asarray(turned.convert("I"), np.float32) / 257
        turned = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8), "L")
    elif turned.mode == "F":  # 0..1 in TIFFs of floats
        turned = Image.fromarray((np.asarray(turned).clip(0, 1) * 255).round().astype(np.uint8), "L")
    if turned.has_transparency_data:
        clear = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return _to_srgb(turned, profile)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of a picture by its colour profile; without one, or with one that is damaged, as it is."""
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if SRGB in ImageCms.getProfileDescription(source):
                return image.convert("RGB")
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")


def resize_plate(picture: Tensor, size: int) -> Tensor:
    """A picture [S, S, 3] uint8 at another size."""
    if len(picture) == size:
        return picture
    mode = "area" if size < len(picture) else "bicubic"
    resized = functional.interpolate(picture.permute(2, 0, 1)[None].float(), (size, size), mode=mode)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous()
