"""Colour: a person's white and exposure brought near the background's, and tables of colours (.cube)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError, check_readable
from avatar.core.light import DISPLAY, LUMINANCE

NONE, MATCH = "none", "match"
NORM = 6.0  # of the mean that finds a picture's white: between grey world and brightest pixel (Finlayson 2004)
NEAR, MOST_WHITE = 0.5, 0.15  # how far a person's white goes to the background's; log light, at most
NEAR_EXPOSURE, MOST_EXPOSURE = 0.35, 0.35  # the same of exposure: half a stop at most
PIXELS = 64  # a side that pictures are looked at with

SIZES = 2, 65  # of a table
MOST_BYTES = 32 << 20


def tone_of(picture: Tensor) -> Tensor:
    """A picture's white and exposure as log light [4]: red, green and blue against grey, and brightness."""
    step = max(1, min(picture.shape[:2]) // PIXELS)
    linear = (picture[::step, ::step].float().cpu() / 255).pow(DISPLAY).flatten(0, 1)
    white = linear.clamp_min(1e-4).pow(NORM).mean(0).pow(1 / NORM).log()
    bright = (linear @ torch.tensor(LUMINANCE)).clamp_min(1e-3).log().mean()
    return torch.cat([white - white.mean(), bright[None]])


def matching_gain(own: Tensor, behind: Tensor) -> Tensor:
    """The log light [3] that a person gets from a background, by `tone_of` where they were filmed and of it."""
    white = (NEAR * (behind[:3] - own[:3])).clamp(-MOST_WHITE, MOST_WHITE)
    return white + (NEAR_EXPOSURE * (behind[3] - own[3])).clamp(-MOST_EXPOSURE, MOST_EXPOSURE)


class Table:
    """A table of colours [n, n, n, 3] by blue, green and red."""

    def __init__(self, values: Tensor) -> None:
        self._values = values.permute(3, 0, 1, 2)[None].contiguous()

    def __call__(self, colours: Tensor) -> Tensor:
        """Colours [..., 3] by the table, between its values linearly; what is outside 0..1 stays so far outside."""
        inside = colours.clamp(0, 1)
        at = (inside.flatten(0, -2) * 2 - 1)[None, None, None]
        values = self._values.to(colours.device)
        found = functional.grid_sample(values, at, "bilinear", "border", align_corners=True)
        return found[0, :, 0, 0].mT.view(colours.shape) + (colours - inside)


def read_table(path: Path) -> Table:
    """A table of a .cube file (Adobe 2013, of three dimensions, over 0..1). Raises: UserError."""
    check_readable(path, "table of colours")
    if path.suffix.lower() != ".cube" or path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: is no table of colours; give a .cube file of up to {MOST_BYTES >> 20} MB")
    size, rows = 0, list[tuple[float, ...]]()
    try:
        for line in _lines(path):
            word, *rest = line.split()
            if word == "LUT_3D_SIZE":
                size = int(rest[0])
            elif word == "LUT_1D_SIZE":
                raise UserError(f"{path}: is a table of one dimension; export one of three")
            elif word in ("DOMAIN_MIN", "DOMAIN_MAX", "LUT_3D_INPUT_RANGE"):
                given = {float(value) for value in rest}
                if given - {0.0, 1.0}:
                    raise UserError(f"{path}: is of another range than 0 to 1; export it for that")
            elif word != "TITLE":
                red, green, blue = (float(value) for value in (word, *rest))
                rows.append((red, green, blue))
    except ValueError as error:
        raise UserError(f"{path}: line '{line[:40]}' is none of a .cube file; export it again") from error
    if not SIZES[0] <= size <= SIZES[1] or len(rows) != size**3:
        raise UserError(
            f"{path}: has {len(rows)} colours for LUT_3D_SIZE {size}; {SIZES[0]} to {SIZES[1]} cubed are read"
        )
    values = torch.tensor(rows)
    if not bool(values.isfinite().all()):
        raise UserError(f"{path}: has colours that are no numbers; export it again")
    return Table(values.view(size, size, size, 3))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if (text := line.strip()) and not text.startswith("#"):
                yield text


def check_grade(choice: str) -> Table | None:
    """The table that a choice of `--grade` names; None for `none` and `match`. Raises: UserError."""
    return None if choice in (NONE, MATCH) else read_table(Path(choice))
