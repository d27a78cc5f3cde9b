"""A film with its sound moved in time: streams are copied, nothing is decoded."""

from __future__ import annotations

from pathlib import Path

from avatar.core.files import UserError, check_writable, whole
from avatar.core.media_command import input_options, started, telling_line


def move_film_sound(film: Path, out: Path, seconds: float) -> None:
    """Copy a film with all its sound tracks `seconds` later (earlier, where negative). Raises: UserError.

    What would come before the picture is left out of an earlier sound.
    """
    check_writable(out)
    if out.exists() and out.samefile(film):
        raise UserError(f"{out}: is the film itself; give another name")
    moved = ["-itsoffset" if seconds >= 0 else "-ss", f"{abs(seconds):.4f}"]
    with whole(out) as temporary:
        arguments = ["-v", "error", *input_options(film), *moved, *input_options(film)]
        arguments += ["-map", "0:v", "-map", "1:a", "-map", "0:s?", "-c", "copy", "-y", f"file:{temporary}"]
        with started(arguments) as running:
            running.output.read()
            said = running.messages()
        if not temporary.exists() or not temporary.stat().st_size:
            raise UserError(f"{out}: cannot hold what {film} holds ({telling_line(said, 'ffmpeg gave up')})")
