"""A filmed person says something else: frames as they were filmed, with another mouth."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar, as_avatar
from avatar.core.coding import Coding
from avatar.core.controls import Controls
from avatar.core.encode import write_video
from avatar.core.files import UserError, digest_file
from avatar.core.geometry import Camera, eye_distance, project, to_camera
from avatar.core.media import SoundTrack, Stretch, VideoInfo, find_speech, probe, read_order, read_still
from avatar.core.media_mix import mix
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.outputs import files_among
from avatar.core.picture_folder import check_film
from avatar.core.progress import Progress, count_steps, no_progress
from avatar.core.speech_file import SpeechFile, as_speech_file
from avatar.core.take import Take, Track, open_take, read_track
from avatar.core.threads import torch_threads
from avatar.pipelines.dub_plan import Plan, plan_dub, usable_frames
from avatar.pipelines.speak import dub_number, make_motion
from avatar.pipelines.takes import make_take
from avatar.play.look import Look
from avatar.play.player import Player, check_space, motion_of_take
from avatar.provenance.mark import mark_frames
from avatar.render.device import DeviceName
from preprocess.dub import Box, Faces, box_of, covering, mask, paste, patch, place
from preprocess.request import TakeRequest

MOST_DRAWN = 1024  # px a side that a face is drawn at; of larger crops it is enlarged
SURVEYED = 12  # frames of the footage that are drawn before anything is written: is it this person, what is usual
COVERED = 4.0  # times the usual difference of filmed and drawn: something is before the mouth
ANOTHER_PERSON = 40.0  # grey levels of that difference on most frames; of the avatar's own person 2 to 17
ONLY_LIPS = Controls(temperature=0.0, blink=0.0, head=0.0, gaze=0.0)
"""Speech alone: all else is filmed."""

Array = np.ndarray


@dataclass(frozen=True)
class Dubbing:
    """How a film is dubbed."""

    face: str = "auto"  # of footage with several people: auto, left, right, largest
    strict: bool = False  # refuse footage in which a frame has to stay as it was filmed
    rest: bool = False  # show the footage to its end where the speech is shorter
    keep_sound: float | None = None  # dB at which the footage's own sound is mixed in; None: not at all
    coding: Coding = field(default_factory=Coding)


@dataclass(frozen=True)
class Dubbed:
    """What was made."""

    frames: int
    left: int  # frames that are as they were filmed, because no mouth could be replaced there
    fps: float  # frames a second


def dub(
    avatar: Avatar | Path | str,
    video: Path | str,
    speech: SpeechFile | Path | str,
    out: Path | str,
    *,
    dubbing: Dubbing | None = None,
    device: DeviceName = "auto",
    force: bool = False,
    progress: Progress = no_progress,
) -> Dubbed:
    """Let the person in a video say what a file says; everything but the mouth stays as it was filmed.

    video: the clip that the avatar was built from, or another recording of the same person. It is tracked first, unless
    its Take lies beside the avatar's file or the video; the Take is kept beside `out`. Size and frame rate are its own.
    Longer speech lets the footage run to and fro.
    Raises: UserError, for footage of somebody else too.
    """
    read, video, out, dubbing = files_among(avatar), Path(video), Path(out), dubbing or Dubbing()
    speech, home = as_speech_file(speech), Path(avatar) if isinstance(avatar, (str, Path)) else None
    avatar = as_avatar(avatar)
    check_space(avatar)
    check_film(out, dubbing.coding, transparent=False, inputs=[*read, video, speech.path], force=force)
    take = open_footage(video, out, home, dubbing.face, progress)
    info, size = probe(video), min(MOST_DRAWN, 2 * round(take.crop[2] / 2))
    said = make_motion(avatar, speech, controls=ONLY_LIPS, progress=progress)
    tracked = motion_of_take(avatar, take)
    plan = plan_dub(avatar, take, tracked, said, info.fps, rest=dubbing.rest)
    with torch_threads(1):
        player = Player(avatar, look=Look(size=size), controls=Controls(), device=device, mark="none")
        stage = Stage(player, take, read_track(take), avatar.camera)
        usual = survey(stage, video, info, tracked)
        if dubbing.strict and (left := int((plan.weight < 1).sum())):
            raise UserError(f"{video}: in {left} frames no mouth can be replaced; leave --strict out to keep them")
        filmed = read_order(video, plan.shown.tolist(), fps=info.fps, start=_start_of(take))
        dubbed = MouthReplacer(stage, plan, usual)
        number = dub_number(avatar, video, speech)
        shown = mark_frames(count_steps(dubbed.draw(filmed), "dub", len(plan.shown), progress), number)
        with _sound(speech, video, take, dubbing.keep_sound, len(plan.shown) / info.fps) as sound:
            frames = write_video(shown, out, fps=info.fps, sound=sound, coding=dubbing.coding, force=force)
    if dubbed.left:
        warnings.warn(f"{video}: {dubbed.left} of {frames} frames stay as they were filmed: {dubbed.why}", stacklevel=2)
    return Dubbed(frames, dubbed.left, info.fps)


@contextmanager
def _sound(
    speech: SpeechFile, video: Path, take: Take, level: float | None, seconds: float
) -> Iterator[SoundTrack | Path]:
    """The sound of the film: what is said, and where it is asked for the footage's own under it."""
    said = find_speech(Path(speech.path), track=speech.track)
    if level is None:
        yield said
        return
    if not (info := probe(video)).has_audio:
        raise UserError(f"{video}: has no sound that could be kept; leave --keep-sound out")
    with tempfile.TemporaryDirectory() as folder:
        own, stretch = SoundTrack(video, info), Stretch(_start_of(take))
        yield mix(said, own, Path(folder) / "sound.wav", level=level, stretch=stretch, seconds=seconds)


def open_footage(video: Path, out: Path, home: Path | None, face: str, progress: Progress) -> Take:
    """The Take of a video: the one beside the avatar's file or the video, if it is of this clip, else a new one."""
    if not probe(video).has_video:
        raise UserError(f"{video}: has no picture; give a video")
    digest = digest_file(video)
    for one in (home, video) if face == "auto" else ():
        if one and (one.with_suffix(".take") / "take.json").is_file():
            take = open_take(one.with_suffix(".take"))
            if take.source.get("sha256") == digest and not take.framings:
                return take
    return make_take(video, footage_take(out), TakeRequest(face=face), holdout=0.0, progress=progress)


def footage_take(out: Path) -> Path:
    """Where the Take of footage is made that has none yet."""
    return out.with_suffix(".footage.take")


def _start_of(take: Take) -> float:
    """Seconds of the video before the Take's first frame."""
    return take.first_source_frame / take.fps


class Stage:
    """Draws the faces of a clip in its frames' own pixels."""

    def __init__(self, player: Player, take: Take, track: Track, camera: Camera) -> None:
        """camera: that the motion is given in."""
        self.player, self.take, self._camera = player, take, camera
        self._neutral, self._basis = track.neutral, load_space().basis
        scale = take.crop[2] / take.camera.size
        self._eye = float(eye_distance(track.landmarks).median()) * scale

    def faces(self, own: Motion, new: Motion, index: int) -> Faces:
        """The two faces of a frame, in px of the footage."""
        left, top, side = self.take.crop
        corner = np.array([left, top])
        pose, scale = (own.rotation[index], own.translation[index]), side / self._camera.size
        meshes = [to_camera(self._mesh(one.expression[index]), *pose) for one in (own, new)]
        filmed, asked = (project(mesh, self._camera).numpy() * scale + corner for mesh in meshes)
        return Faces(filmed, asked, self._eye)

    def draw(self, motion: Motion) -> Iterator[Array]:
        """Pictures [S, S, 4] uint8 of the crop, alpha last: one for each frame, at whatever rate they follow."""
        return self.player.reenact(replace(motion, fps=self.player.fps), pixels="rgba")

    def place(self, picture: Array, frame: Array, box: Box) -> Array:
        """A picture laid over a box of the frame [h, w, 3] float32."""
        return place(picture, self.take.crop, frame, box)

    def _mesh(self, expression: Tensor) -> Tensor:
        return self._neutral + torch.einsum("k,kvc->vc", expression, self._basis)


def survey(stage: Stage, video: Path, info: VideoInfo, tracked: Motion) -> float:
    """What the drawn face usually differs by from the filmed one, grey levels. Raises: UserError for another person."""
    usable = usable_frames(stage.take).nonzero().flatten()
    if not len(usable):
        raise UserError(
            f"{video}: there is no frame in which a mouth could be replaced; see {stage.take.root}/report.html"
        )
    chosen = usable[torch.linspace(0, len(usable) - 1, min(SURVEYED, len(usable))).round().long()]
    motion, found = tracked[chosen], list[float]()
    for index, picture in enumerate(stage.draw(motion)):
        frame = read_still(video, info, _start_of(stage.take) + float(chosen[index]) / stage.take.fps)
        faces = stage.faces(motion, motion, index)
        box = box_of(faces, frame.shape)
        if not box.empty:
            found.append(covering(box.of(frame).astype(np.float32), stage.place(picture, frame, box), faces, box))
    usual = float(np.median(found)) if found else 0.0
    if usual > ANOTHER_PERSON:
        raise UserError(
            f"{video}: does not show the avatar's person, or in quite another light; build an avatar from it instead"
        )
    return usual


class MouthReplacer:
    """Draws the frames of a plan, one after the other."""

    def __init__(self, stage: Stage, plan: Plan, usual: float) -> None:
        self._stage, self._plan, self._usual = stage, plan, usual
        self.left, self._reasons = 0, set[str]()

    @property
    def why(self) -> str:
        """Why frames were left as they were filmed."""
        return "; ".join(sorted(self._reasons))

    def draw(self, filmed: Iterator[Array]) -> Iterator[Array]:
        """The film's frames [H, W, 3] uint8."""
        plan = self._plan
        both = concatenate([plan.own, plan.new])
        in_turn = torch.arange(len(both)).reshape(2, -1).T.flatten()  # own, new, own, new: one drawing after the other
        drawn = self._stage.draw(both[in_turn])
        for index, frame in enumerate(filmed):
            own, new = next(drawn), next(drawn)
            yield self._dub(frame, (own, new), index)

    def _dub(self, frame: Array, drawn: tuple[Array, Array], index: int) -> Array:
        weight = float(self._plan.weight[index])
        if weight == 0:
            return self._leave(frame, "no face, or something before the mouth")
        faces = self._stage.faces(self._plan.own, self._plan.new, index)
        box = box_of(faces, frame.shape)
        if box.empty:
            return self._leave(frame, "the face is out of the picture")
        part = box.of(frame).astype(np.float32)
        own, new = (self._stage.place(picture, frame, box) for picture in drawn)
        if covering(part, own, faces, box) > COVERED * max(self._usual, 1.0):
            return self._leave(frame, "something before the mouth")
        return paste(frame, patch(part, own, new, faces, box), weight * mask(faces, box), box)

    def _leave(self, frame: Array, reason: str) -> Array:
        self.left += 1
        self._reasons.add(reason)
        return frame
