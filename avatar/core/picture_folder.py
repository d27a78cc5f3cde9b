"""Where frames go, a film or a folder; and folders of pictures: of one run and nothing else, whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from avatar.core.coding import Coding, check_target
from avatar.core.files import UserError, whole
from avatar.core.outputs import check_output, check_output_folder

NAME = re.compile(r"\d{6,}\.png")
MARK = b"tEXtSoftware\0avatar-builder"  # a chunk of our PNGs, before the pixels
HEAD = 128  # bytes of a PNG in which it stands


def check_picture_folder(path: Path, inputs: Iterable[Path | str] = (), *, force: bool | None = None) -> None:
    """Raise UserError unless a folder of pictures may be made at `path`.

    One that exists must hold pictures of an earlier run alone, which it is replaced with; force: numbered PNGs of any
    program.
    """
    check_output_folder(path, inputs)
    if not path.exists():
        return
    for one in path.iterdir():
        numbered = NAME.fullmatch(one.name) and one.is_file()
        if not numbered or not (force or _is_ours(one)):
            advice = "choose another folder" + (", or --force" if numbered and force is not None else "")
            raise UserError(f"{path}: holds {one.name}, which is no picture of an earlier run; {advice}")


def check_film(
    path: Path, coding: Coding, *, transparent: bool, inputs: Iterable[Path | str] = (), force: bool | None = None
) -> None:
    """Raise UserError unless frames may be written at `path`: a film by its ending, without one a folder of pictures.

    force: as in `check_output` and `check_picture_folder`.
    """
    check_target(path, coding, transparent=transparent)
    if path.suffix:
        check_output(path, inputs, force=force)
    else:
        check_picture_folder(path, inputs, force=force)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK in file.read(HEAD)


def save_each(
    frames: Iterable[np.ndarray],
    folder: Path,
    *,
    first: int = 0,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> Iterator[np.ndarray]:
    """Save RGB or RGBA frames as %06d.png, numbered from `first`, with fields of text, and pass them on.

    The folder is there when the last frame has been passed on, in the place of an earlier run's; before that, and when
    the frames are not all taken, nothing is. Raises: UserError as `check_picture_folder`.
    """
    check_picture_folder(folder, force=force)
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", "avatar-builder")
    for name, value in (metadata or {}).items():
        note.add_itxt(name, value)
    with whole(folder) as temporary:
        temporary.mkdir()
        for index, frame in enumerate(frames, start=first):
            picture = Image.fromarray(frame)
            picture.save(temporary / f"{index:06d}.png", "png", compress_level=1, pnginfo=note)
            yield frame
