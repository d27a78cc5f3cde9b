"""Look: how an avatar is shown, and what lies behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image, ImageColor
from torch import Tensor
from torch.nn import functional

from avatar.core.coding import Coding
from avatar.core.files import UserError, check_readable
from avatar.core.media import probe, read_video

TRANSPARENT = "transparent"
MOST_ORBIT = 20.0  # degrees: beyond, nothing was ever recorded
LEAST_SIZE, MOST_SIZE = 64, 2048  # px; even, as films have half as many chroma samples
FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")

Background = Tensor | Iterator[Tensor]
"""A picture [S, S, 3] uint8, or one for each frame."""


@dataclass(frozen=True)
class Look:
    """How an avatar is shown."""

    size: int | None = None  # px a side; None: as it was trained
    fps: float | None = None  # None: as it was trained
    background: str | None = None  # a picture, a film, a colour, `transparent`; None: the avatar's own plate
    full_frame: bool = False  # the whole picture that the person was filmed in
    orbit: float = 0.0  # degrees that the view swings to either side
    coding: Coding = field(default_factory=Coding)

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be shown, or not together."""
        if self.full_frame and (self.background or self.size or self.orbit):
            raise UserError(
                "a full frame keeps its own background, size and view; leave --background, --size and --orbit out"
            )
        if not 0 <= self.orbit <= MOST_ORBIT:
            raise UserError(f"--orbit: {self.orbit:g} is not between 0 and {MOST_ORBIT:g} degrees")
        if self.size and (self.size % 2 or not LEAST_SIZE <= self.size <= MOST_SIZE):
            raise UserError(f"--size: {self.size} is not an even number from {LEAST_SIZE} to {MOST_SIZE} px")

    @property
    def transparent(self) -> bool:
        """Whether frames keep their alpha."""
        return self.background == TRANSPARENT


def open_background(choice: str, size: int, fps: float) -> Background:
    """A picture [S, S, 3] uint8 from a file or a colour; of a film endless pictures: it begins anew at its end.

    Raises: UserError when it is none of these.
    """
    path = Path(choice)
    if path.suffix.lower() not in FILM_ENDINGS:
        return read_background(choice, size)
    if not probe(path).has_video:
        raise UserError(f"{path}: has no picture; give a video, a picture or a colour as background")
    return _loop(path, size, fps)


def _loop(path: Path, size: int, fps: float) -> Iterator[Tensor]:
    frame = None
    while True:
        for frame in read_video(path, size=size, fps=fps):
            yield torch.from_numpy(frame.copy())
        if frame is None:
            raise UserError(f"{path}: holds no frame that can be decoded; give another background")


def read_background(choice: str, size: int) -> Tensor:
    """A background [S, S, 3] uint8 from a picture file (its middle square) or a colour name or #rrggbb.

    Raises: UserError when it is neither.
    """
    path = Path(choice)
    if not path.exists():
        try:
            color = ImageColor.getrgb(choice)[:3]
        except ValueError as error:
            raise UserError(f"background '{choice}': is neither a picture file nor a colour like #20a040") from error
        return torch.tensor(color, dtype=torch.uint8).expand(size, size, 3).contiguous()
    check_readable(path, "picture")
    try:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            square = image.convert("RGB").crop((left, top, left + side, top + side)).resize((size, size))
    except OSError as error:
        raise UserError(f"{path}: is not a picture that can be read") from error
    return torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(size, size, 3)


def resize_plate(picture: Tensor, size: int) -> Tensor:
    """A picture [S, S, 3] uint8 at another size."""
    if len(picture) == size:
        return picture
    mode = "area" if size < len(picture) else "bicubic"
    resized = functional.interpolate(picture.permute(2, 0, 1)[None].float(), (size, size), mode=mode)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous()
