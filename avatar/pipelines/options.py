"""The options of each verb: one table, read by the command line, by job files and by docs/options.md.

Importing it loads neither torch nor anything that draws or preprocesses. What options become is in `arguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model

from avatar.core.coding import Codec, Quality
from avatar.core.controls import CLIPS, Controls
from avatar.core.label import LabelKind
from avatar.core.named_files import ConsentPath, FilePath, TextPath
from avatar.core.recipe import CONTROL_ALIASES, Alias, Settings
from avatar.pipelines.option_markers import (
    Duration,
    FileOfSettings,
    Given,
    Pixels,
    control_sections,
    recipe_sections,
    segment_sections,
)
from avatar.pipelines.scene_options import BehindSound, Staged

Verb = Literal["preprocess", "build", "speak", "render", "motion", "evaluate", "dub", "say", "present"]
Captions = Literal["srt", "vtt", "burn"]
Layout = Literal["motion", "arkit", "livelink"]
Face = Literal["auto", "left", "right", "largest"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
Tracker = Literal["auto", "torch", "mediapipe"]
AvatarInput = Annotated[FilePath, Given(metavar="NAME.avatar", role="input", positional=True)]
TextInput = Annotated[TextPath, Given(metavar="TEXT|FILE", role="input", positional=True)]
SpeechInput = Annotated[FilePath, Given(metavar="SPEECH", role="input", positional=True)]

FILMS = (".mp4", ".mov", ".webm")
AVATAR, SPEECH = "An avatar file.", "Any sound or video file that ffmpeg reads."
DEVICE = "The processor, or an NVIDIA GPU; auto: the GPU if nothing is missing for it."
FACE = "Which face, when there are several all the way; auto: the largest, with a warning."
CROP_SIZE = "Pixels a side of the square crop, 64 to 1024; native: as many as the source has there, up to 1024."
TRACKER = (
    "What runs the networks that find face and person: torch, or MediaPipe itself; auto: the faster on the device."
)
AUDIO_TRACK = "Which sound track, from 1 on, where a file has several."
FORCE = "Replace what stands at the output, though it is of another kind; never what is read."
CONSENT = "Who agreed to this avatar and to what, a consent file or a sentence; travels with the file."


class Hardware(Settings):
    """Where a verb runs."""

    device: DeviceChoice = Field("auto", description=DEVICE)


class Output(Settings):
    """What may stand at the output of a verb."""

    force: bool = Field(False, description=FORCE)


class Agreement(Settings):
    """Who agreed to an avatar: one of these, or nothing."""

    consent: Annotated[ConsentPath, Given(metavar="FILE.json|TEXT")] = Field("not stated", description=CONSENT)
    own: Annotated[str | None, Given(("--self",), "NAME")] = Field(
        None, description="The clip is of yourself, and this is your name."
    )
    synthetic: bool = Field(False, description="The clip is of a person who does not exist.")


class Permission(Settings):
    """What the consent of an avatar is compared with."""

    avatar: AvatarInput = Field(description=AVATAR)
    use: Annotated[str | None, Given(metavar="TEXT")] = Field(
        None, description="What it is for; refused where the avatar's consent lists its uses without this one."
    )
    revoked: Annotated[FilePath | None, Given(metavar="FILE")] = Field(
        None, description="List of avatar ids whose consent was taken back."
    )


class Preprocess(Hardware, Agreement):
    """Video to Take: crop, track, matte, background plate, sound, report."""

    video: Annotated[FilePath, Given(metavar="VIDEO", role="input", positional=True)] = Field(
        description="A clip of one person speaking."
    )
    output: Annotated[FilePath, Given(("-o", "--out"), "TAKE_DIR", "output")] = Field(description="Folder to make.")
    size: Pixels = Field("512", description=CROP_SIZE)
    holdout: float = Field(0.1, ge=0, le=0.9, description="Last part of the clip kept for testing.")
    face: Face = Field("auto", description=FACE)
    start: Duration | None = Field(None, description="Where to begin, such as 12s or 1m.")
    end: Duration | None = Field(None, description="Where to stop.")
    select: Duration | None = Field(None, description="Train on the most informative part, such as 60s.")
    tracker: Tracker = Field("auto", description=TRACKER)
    audio_track: Annotated[int | None, Given(default="the one with speech")] = Field(
        None, ge=1, description=AUDIO_TRACK
    )
    landmarker: Annotated[FilePath | None, Given(metavar="FILE")] = Field(
        None, description="Your own MediaPipe Tasks face landmarker (.task)."
    )


class Build(Hardware, Agreement):
    """Everything: preprocess if needed, train the renderer, adapt speech to motion, write one file."""

    source: Annotated[FilePath, Given(metavar="VIDEO_OR_TAKE", role="input", positional=True)] = Field(
        description="A clip, a photo, a folder with photos of one person, or a folder of `preprocess`."
    )
    output: Annotated[FilePath, Given(("-o", "--out"), "NAME.avatar", "output", endings=(".avatar",))] = Field(
        description="Avatar file to write."
    )
    recipe: Annotated[str | dict[str, Any] | None, FileOfSettings(recipe_sections), Given(metavar="FILE")] = Field(
        None, description="YAML file with settings."
    )
    budget: Annotated[Duration | None, Given(metavar="DURATION", default="the recipe's, else as long as it helps")] = (
        Field(None, description="Training time, such as 90s, 5m, 1h.")
    )
    steps: int | None = Field(
        None, ge=1, description="Training steps in place of a time; then the same seed gives the same file."
    )
    size: Annotated[Pixels | None, Given(metavar="PIXELS|native", default="the recipe's")] = Field(
        None, description=CROP_SIZE
    )
    holdout: Annotated[float | None, Given(default="the recipe's")] = Field(
        None, ge=0, le=0.9, description="Last part of the clip, never trained on."
    )
    seed: Annotated[int | None, Given(default="the recipe's")] = Field(None, description="Seed of every random draw.")
    face: Face = Field("auto", description=FACE)
    tracker: Annotated[Tracker | None, Given(default="the recipe's")] = Field(None, description=TRACKER)
    audio_track: Annotated[int | None, Given(default="the one with speech")] = Field(
        None, ge=1, description=AUDIO_TRACK
    )
    preview: bool = Field(False, description="Use only the clip's best frame, as a photo: ready in half a minute.")
    force: bool = Field(
        False, description="Build of an unusable clip, too, saying what to expect; replace another file."
    )


class Signing(Output):
    """How a film is signed."""

    sign: Annotated[FilePath | None, Given(metavar="DIR|CERT.pem", default="those of `avatar keys init`")] = Field(
        None, description="Folder with certificate.pem and key.pem to sign by, or the certificates alone."
    )
    sign_key: Annotated[FilePath | None, Given(metavar="KEY.pem")] = Field(
        None, description="Private key of the certificate, which only you can read."
    )
    sign_command: Annotated[FilePath | None, Given(metavar="PROGRAM")] = Field(
        None, description="Program that signs in the key's place: bytes on stdin, an ES256 signature on stdout."
    )
    tsa: Annotated[str | None, Given(metavar="URL")] = Field(
        None, description="RFC 3161 server to have the signature's time certified by."
    )
    unsigned: bool = Field(False, description="Sign nothing, and say so.")


class Labelled(Settings):
    """What a film says of itself."""

    label: LabelKind = Field("none", description="Visible label that says that it was generated.")
    label_seconds: Annotated[float | None, Given(default="throughout; cn: 3")] = Field(
        None, gt=0, description="How long the label is shown, from the beginning."
    )
    producer: Annotated[str | None, Given(metavar="NAME")] = Field(None, description="Maker, for cn's field AIGC.")


class View(Labelled, Staged):
    """How an avatar is shown: what `render` and `speak` share."""

    size: Annotated[int | None, Given(default="as trained")] = Field(None, ge=64, le=2048, description="Pixels a side.")
    fps: Annotated[float | None, Given(default="as trained")] = Field(
        None, ge=5, le=120, description="Frames a second."
    )
    codec: Codec = Field("h264", description="Of .mp4 and .mov films.")
    quality: Quality = Field("good", description="Of the encoding.")
    orbit: float = Field(0.0, ge=0, le=20, description="Degrees that the view swings to either side.")

    aliases: ClassVar[Mapping[str, Alias]] = {"bg_img": Alias("background")}


METAVARS = {"pose": "generated|still|take:DIR", "emotion": "NAME:STRENGTH|auto", **dict.fromkeys(CLIPS, "CLIP")}


def _control_options() -> dict[str, Any]:
    """Every control as an option that may be left out."""
    options: dict[str, Any] = {}
    for name, field in Controls.model_fields.items():
        kind = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        given = Given(metavar=METAVARS.get(name, ""), default="" if field.default is None else "the recipe's")
        options[name] = (Annotated[kind | None, given], Field(None, description=field.description))  # type: ignore[operator]
    options["controls"] = (
        Annotated[str | dict[str, Any] | None, FileOfSettings(control_sections), Given(metavar="FILE")],
        Field(None, description="YAML file with these controls, each a number or {second: value}."),
    )
    return options


if TYPE_CHECKING:

    class Control(Settings):
        """How an avatar moves."""

        controls: str | dict[str, Any] | None
else:
    Control = create_model("Control", __base__=Settings, __module__=__name__, **_control_options())


class Speak(Hardware, Control, View, BehindSound, Permission, Signing):
    """Make an avatar say what a sound file says; any length."""

    speech: SpeechInput = Field(description=SPEECH)
    output: Annotated[FilePath, Given(("-o", "--out"), "OUT.mp4", "output")] = Field(
        description="Film (.mp4, .mov, .webm), or a folder for PNGs."
    )
    full_frame: bool = Field(False, description="The whole picture of the source clip.")
    body: Literal["still", "footage"] = Field(
        "still", description="What moves beside head and shoulders: nothing, or all that --footage shows."
    )
    footage: Annotated[FilePath | None, Given(metavar="VIDEO")] = Field(
        None, description="The clip that the avatar was built from, for --body footage."
    )
    listening: bool = Field(False, description="Attend to the speech, silently, instead of saying it.")
    announce: Annotated[FilePath | None, Given(metavar="FILE")] = Field(
        None, description="A spoken notice, or a tone, that comes first, while the avatar is silent."
    )
    audio_track: Annotated[int | None, Given(default="the one with speech")] = Field(
        None, ge=1, description=AUDIO_TRACK
    )

    aliases: ClassVar[Mapping[str, Alias]] = {"drv_aud": Alias("speech"), **View.aliases, **CONTROL_ALIASES}


class Render(Hardware, View, Permission, Signing):
    """Re-enact a Take's own track; PNGs are named by the Take's frame index."""

    take: Annotated[FilePath, Given(("--track",), "TAKE_DIR|FILE", "input")] = Field(
        description="Take whose own motion is re-enacted; or a .motion file, or ARKit's blendshapes as .csv."
    )
    output: Annotated[FilePath | None, Given(("-o", "--out"), "OUT.mp4", "output")] = Field(
        None, description="Film (.mp4, .mov, .webm), or a folder for PNGs."
    )
    frames_dir: Annotated[FilePath | None, Given(metavar="DIR", role="output")] = Field(
        None, description="Folder for lossless PNGs."
    )
    split: Literal["test", "train", "all"] = Field("test", description="Which frames.")


class Motion(Control, Permission, Output):
    """Speech to motion only."""

    speech: SpeechInput = Field(description=SPEECH)
    output: Annotated[FilePath, Given(("-o", "--out"), "OUT.motion", "output", endings=(".motion", ".csv"))] = Field(
        description="Motion file to write; .csv for other programs."
    )
    layout: Layout = Field(
        "motion", description="Columns of a .csv: as they are, ARKit-style blendshapes, or as Live Link Face has them."
    )
    audio_track: Annotated[int | None, Given(default="the one with speech")] = Field(
        None, ge=1, description=AUDIO_TRACK
    )

    aliases: ClassVar[Mapping[str, Alias]] = {"drv_aud": Alias("speech"), **CONTROL_ALIASES}


class Evaluate(Hardware, Output):
    """Figures on held-out frames: PSNR, SSIM, LMD, flicker, lip correlation; LPIPS and CSIM with your networks."""

    avatar: AvatarInput = Field(description=AVATAR)
    take: Annotated[FilePath, Given(metavar="TAKE_DIR", role="input", positional=True)] = Field(
        description="Take with held-out frames."
    )
    output: Annotated[FilePath | None, Given(("--json",), "FILE.json", "output", endings=(".json",))] = Field(
        None, description="Write the figures as JSON."
    )
    page: Annotated[FilePath | None, Given(metavar="FILE.html", role="output", endings=(".html",))] = Field(
        None, description="Write an HTML page with pictures."
    )
    sheet: Annotated[FilePath | None, Given(metavar="FILE.png", role="output", endings=(".png",))] = Field(
        None, description="Write many frames as one picture."
    )
    lpips: Annotated[FilePath | None, Given(metavar="FOLDER", default="torch's cache")] = Field(
        None, description="With alexnet*.pth and alex.pth, for LPIPS."
    )
    face_network: Annotated[FilePath | None, Given(metavar="FILE.onnx")] = Field(
        None, description="An ArcFace network, for CSIM."
    )
    syncnet: Annotated[FilePath | None, Given(metavar="FILE")] = Field(
        None, description="SyncNet's weights (syncnet_v2.model), for LSE-C and LSE-D."
    )
    landmarker: Annotated[FilePath | None, Given(metavar="FILE.task")] = Field(
        None, description="A face landmarker of MediaPipe Tasks, to read the lips of both films by, too."
    )
    reader: Annotated[str | None, Given(metavar="PROGRAM")] = Field(
        None, description="Reads words off both films: called with a film, writes what it reads to stdout."
    )
    words: Annotated[FilePath | None, Given(metavar="FILE.txt")] = Field(
        None, description="What is said in the frames, for the reader's word error rates."
    )
    registered: bool = Field(False, description="Also with the pose fitted to each picture (25 frames, a minute).")
    published: bool = Field(False, description="Also as papers measure: true torso, H.264, 20 mouth points.")


class Dub(Hardware, Labelled, Permission, Signing):
    """Let the person in a video say something else: every pixel but the mouth's stays as it was filmed."""

    video: Annotated[FilePath, Given(metavar="VIDEO", role="input", positional=True)] = Field(
        description="The clip that the avatar was built from, or another recording of the same person."
    )
    speech: SpeechInput | None = Field(None, description=SPEECH)
    segments: Annotated[str | dict[str, Any] | None, FileOfSettings(segment_sections), Given(metavar="FILE")] = Field(
        None, description="YAML file with parts of the video that get another speech, in place of SPEECH."
    )
    output: Annotated[FilePath, Given(("-o", "--out"), "OUT.mp4", "output", endings=FILMS)] = Field(
        description="Film (.mp4, .mov, .webm), of the video's size and frame rate."
    )
    audio_track: Annotated[int | None, Given(default="the one with speech")] = Field(
        None, ge=1, description=AUDIO_TRACK
    )
    face: Face = Field("auto", description=FACE)
    keep_sound: Annotated[float | None, Given(metavar="DB", default="none of it")] = Field(
        None, ge=-60, le=12, description="Mix in the video's own sound at this level, in dB."
    )
    rest: bool = Field(False, description="Show the video to its end where the speech is shorter.")
    strict: bool = Field(False, description="Refuse a video with frames in which no mouth can be replaced.")
    codec: Codec = Field("h264", description="Of .mp4 and .mov films.")
    quality: Quality = Field("good", description="Of the encoding.")


class Voiced(Settings):
    """Who says a text, and how it is captioned."""

    voice: Annotated[str, Given(metavar="ENGINE[:NAME]")] = Field(
        "hibari", description="hibari, kokoro:NAME, espeak:NAME, http:NAME or command:PROGRAM."
    )
    language: Annotated[str | None, Given(metavar="CODE", default="the voice's own")] = Field(
        None, description="Such as en-us, fr or ja."
    )
    speed: float = Field(1.0, ge=0.5, le=2, description="Times the voice's own.")
    captions: Captions | None = Field(None, description="Captions beside the film, or in its picture.")
    caption_font: Annotated[FilePath | None, Given(metavar="FILE.ttf", default="one of the system's")] = Field(
        None, description="Font of captions in the picture."
    )
    voice_files: Annotated[FilePath | None, Given(metavar="TGZ|DIR")] = Field(None, description="Voices of kokoro.")
    voice_model: Annotated[FilePath | None, Given(metavar="FILE.onnx", default="the package's")] = Field(
        None, description="Model of kokoro."
    )
    voice_url: Annotated[str | None, Given(metavar="URL")] = Field(
        None, description="Of http: an OpenAI-compatible /v1/audio/speech. The text is sent there."
    )
    voice_like: Annotated[FilePath | None, Given(metavar="DIR")] = Field(
        None, description="Folder with a recording of the voice that a command is to take on."
    )
    voice_consent: Annotated[str | None, Given(metavar="TEXT")] = Field(
        None, description="Who agreed that their voice is taken on, and to what."
    )


class Say(Hardware, Control, View, BehindSound, Permission, Voiced, Signing):
    """Make an avatar say a text, by a voice."""

    text: TextInput = Field(description="Words, or a .txt, .ssml, .srt or .vtt file.")
    output: Annotated[FilePath, Given(("-o", "--out"), "OUT.mp4", "output")] = Field(
        description="Film (.mp4, .mov, .webm), or a folder for PNGs."
    )
    silent: bool = Field(False, description="Lips alone, without sound.")
    full_frame: bool = Field(False, description="The whole picture of the source clip.")

    aliases: ClassVar[Mapping[str, Alias]] = {**View.aliases, **CONTROL_ALIASES}
