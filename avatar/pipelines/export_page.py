"""An avatar as one web page: drawing file, motion, sound and viewer in it, so that it opens from disk."""

from __future__ import annotations

import base64
import html
import json
import zlib
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import torch

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.consent import public_facts
from avatar.core.drawing_file import drawing_bytes
from avatar.core.files import UserError, whole
from avatar.core.geometry import exponential
from avatar.core.motion_space import Motion, as_motion
from avatar.core.motion_stream import motion_rows
from avatar.core.outputs import check_output, files_among
from avatar.core.page_sound import encode_for_page
from avatar.core.progress import Progress, no_progress
from avatar.core.speech_file import SpeechFile, as_speech_file, open_speech
from avatar.pipelines.speech_film import make_motion
from avatar.play.player import check_motion, check_space
from avatar.render.features import EYE_FEATURES, POSE_FEATURES

PAGE_ENDINGS = (".html",)
_DRAWING = (
    "drawing_file",
    "motion",
    "light",
    "splats",
    "assembler",
    "blending",
    "painter",
    "webgl",
    "worker",
    "engines",
)
SCRIPTS = (*_DRAWING, "sound", "view", "page")  # in the order that they need each other
LATER_SCRIPTS = ("sound_worklet",)  # run where the page's own scripts cannot be: kept as text
MOST_SECONDS = 600.0  # of a page, which is held in memory as a whole: 10 minutes are 3 MB of motion and 5 MB of sound


def export_page(
    avatar: Avatar | Path | str,
    out: Path | str,
    *,
    motion: Motion | Path | str | None = None,
    speech: SpeechFile | Path | str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> str:
    """Write a page that shows an avatar: as a motion moves it, as it says a speech, or still, where neither is given.

    speech: what is played with the motion; without a motion, what the motion is made of. force: as in `check_output`.
    Returns: what was written, in words. Raises: UserError.
    """
    out, speech = Path(out), None if speech is None else as_speech_file(speech)
    read = [*files_among(avatar, motion), *([speech.path] if speech else [])]
    check_output(out, read, endings=PAGE_ENDINGS, force=force)
    avatar = as_avatar(avatar)
    check_space(avatar)
    drawing = drawing_bytes(avatar)
    if motion is not None:
        moved = check_motion(avatar, as_motion(motion))
    else:
        moved = make_motion(avatar, speech, out=out, progress=progress) if speech else mean_motion(avatar)
    if (seconds := len(moved) / moved.fps) > MOST_SECONDS:
        raise UserError(f"{out}: {seconds:.0f} s of motion are too long for a page, which holds {MOST_SECONDS:.0f} s")
    sound = b""
    if speech:
        with open_speech(speech) as decoded:
            sound = encode_for_page(decoded.track)
    with whole(out) as temporary:
        temporary.write_text(page_text(avatar, drawing, moved, sound, title=out.stem), encoding="utf-8")
    return f"a page of {len(moved)} frames{', with sound' if sound else ''}"


def mean_motion(avatar: Avatar) -> Motion:
    """One frame: the mean of all that an avatar's splats were trained on."""
    renderer, modes = avatar.renderer, len(avatar.speech.mean)
    eyes = modes + EYE_FEATURES
    mean, rest = renderer["feature_mean"][None].float(), renderer["rest_rotation"].float()
    turn, place = mean[:, eyes : eyes + 3], mean[:, eyes + 3 : eyes + POSE_FEATURES]
    torso = torch.nn.functional.pad(mean[:, eyes + POSE_FEATURES :], (0, 4))[:, :4].clone()
    torso[:, :2] *= avatar.camera.focal
    still = Motion(mean[:, :modes], mean[:, modes:eyes], exponential(turn) @ rest, place, torso, avatar.fps)
    return replace(still, space_id=avatar.space_id)


def page_text(avatar: Avatar, drawing: bytes, motion: Motion, sound: bytes, *, title: str) -> str:
    """The page's HTML."""
    viewer = files("avatar") / "assets" / "viewer"

    def script(name: str, kind: str = "text/javascript") -> str:
        return f'<script type="{kind}" id="script-{name}">\n{(viewer / f"{name}.js").read_text("utf-8")}</script>'

    scripts = [script(name, "text/plain") for name in LATER_SCRIPTS] + [script(name) for name in SCRIPTS]
    return Template((viewer / "page.html").read_text("utf-8")).substitute(
        title=html.escape(title),
        version=version("avatar-builder"),
        fps=f"{motion.fps:g}",
        provenance=json.dumps(public_facts(avatar)),
        drawing=base64.b64encode(drawing).decode(),
        motion=base64.b64encode(zlib.compress(motion_rows(motion).tobytes(), 9)).decode(),
        sound=base64.b64encode(sound).decode(),
        scripts="\n".join(scripts),
    )
