"""The messages of the WebSocket `/v1/live`, version 1: JSON events in text messages, media in binary ones.

`python -m avatar.serve.protocol` prints their JSON Schema, which stands in docs/live.schema.json.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from avatar.core.files import UserError
from avatar.core.named_files import NAMED_LIGHTS
from avatar.motion.driver import FPS

SUBPROTOCOL = "avatar.v1"
MOST_MESSAGE = 1 << 20  # bytes: ten seconds of sound at 48 kHz
HEADER = struct.Struct("<BBHIQ")  # kind, flags, 0, index of the frame, microseconds after the session's first frame
VIDEO, SOUND, MP4 = 1, 2, 4  # 3 is `MOTION` of core/motion_stream.py, whose header has the same fields
KEY = 1  # flag of video that needs no frame before it


OWN = "own"  # background: the server's
LIGHT_NAME = f"^({'|'.join(NAMED_LIGHTS)})(:(0(\\.[0-9]{{1,3}})?|1))?$"


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SceneFields(_Message):
    """What a session shows its avatar in; what is not named stays as it is."""

    background: str | None = Field(
        None, pattern=f"^(#[0-9a-fA-F]{{6}}|{OWN})$", description="A colour behind the person, or what the server has."
    )
    light: str | None = Field(
        None, pattern=LIGHT_NAME, max_length=20, description="On the person: a name of `--light`, and how much of it."
    )
    grade: Literal["match", "none"] | None = Field(
        None, description="White and exposure of the background, or as the person was filmed."
    )


class Start(SceneFields):
    """The first message of a client. Binary messages after it are PCM16 of `rate`, mono, little-endian."""

    type: Literal["start"]
    avatar: str = Field("", max_length=200, description="Name of an avatar of `GET /v1/avatars`; empty: the first.")
    rate: Literal[16000, 24000, 48000] = Field(24000, description="Hz of the sound, in both directions.")
    codec: Literal["vp8", "h264"] = "vp8"
    transport: Literal["media", "mp4", "webrtc", "motion"] = Field(
        "media",
        description="Whether picture and sound come through this WebSocket, as chunks of their own or as a fragmented "
        "MP4 for Media Source Extensions, by `POST /v1/whep/{session}`, or motion and sound through this WebSocket, "
        "for clients that draw (docs/formats.md, Motion stream).",
    )
    live: bool = Field(False, description="Sound comes as it is spoken, as from a microphone.")


class End(_Message):
    """The segment is complete: its last frames need no more sound."""

    type: Literal["end"]


class Clear(_Message):
    """Drop all sound that was not played. The mouth closes; `playback_finished` says how far it came."""

    type: Literal["clear"]


class ControlFields(SceneFields):
    """Changes of controls (docs/options.md), scene and state; what is not named stays."""

    controls: dict[str, float | str] = Field({}, max_length=50, description="Such as mouth_gain, head, gaze, blink.")
    state: Literal["idle", "listening"] | None = Field(None, description="Listening: nods, and looks at the viewer.")


class Control(ControlFields):
    """Change controls, scene and state, smoothly but for the scene; what is not named stays."""

    type: Literal["control"]


class Key(_Message):
    """Send a frame that needs no other, after one was lost."""

    type: Literal["key"]


class Ping(_Message):
    """Answered by `pong` with the same number."""

    type: Literal["ping"]
    id: int = 0


class Stats(_Message):
    """What the client measured, for the server's metrics."""

    type: Literal["stats"]
    latency_ms: float = Field(ge=0, le=1e6)
    drift_ms: float = Field(ge=-1e6, le=1e6)


ClientMessage = Annotated[Start | End | Clear | Control | Key | Ping | Stats, Field(discriminator="type")]


class Ready(_Message):
    """The session is open."""

    type: Literal["ready"] = "ready"
    session: str
    avatar: str
    width: int
    height: int
    fps: float = FPS
    rate: int
    codec: str = Field(description="For WebCodecs' `VideoDecoder.configure`, or `MediaSource.addSourceBuffer`.")
    drawing: str = Field("", description="Path of the drawing file, for clients that draw.")
    protocol: Literal[1] = 1


class PlaybackStarted(_Message):
    """The first frame of a segment is shown."""

    type: Literal["playback_started"] = "playback_started"
    segment: int
    frame: int


class PlaybackFinished(_Message):
    """The last frame of a segment was shown, or it was cleared."""

    type: Literal["playback_finished"] = "playback_finished"
    segment: int
    frame: int
    position: float = Field(description="Seconds of the segment that were played.")
    interrupted: bool


class Buffer(_Message):
    """Sound waits. While it is full, the server reads no further messages."""

    type: Literal["buffer"] = "buffer"
    seconds: float
    full: bool


class Pong(_Message):
    type: Literal["pong"] = "pong"
    id: int


class Failure(_Message):
    """What was wrong with a message, which was left out."""

    type: Literal["error"] = "error"
    error: str


class Closing(_Message):
    """The session ends."""

    type: Literal["closing"] = "closing"
    reason: str


ServerMessage = Annotated[
    Ready | PlaybackStarted | PlaybackFinished | Buffer | Pong | Failure | Closing, Field(discriminator="type")
]

_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


def read_message(text: str) -> ClientMessage:
    """A client's message. Raises: UserError that names what is wrong."""
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"message: {field + ': ' if field else ''}{first['msg']}; see live.schema.json") from error


def pack(kind: int, index: int, payload: bytes, *, key: bool = False) -> bytes:
    """A binary message of a frame's video or sound."""
    return HEADER.pack(kind, KEY if key else 0, 0, index, round(index * 1e6 / FPS)) + payload


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of messages in both directions."""
    client, server = (adapter.json_schema(ref_template="#/$defs/{model}") for adapter in (_CLIENT, _SERVER))
    definitions = client.pop("$defs") | server.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of /v1/live, version 1",
        "$defs": definitions | {"ClientMessage": client, "ServerMessage": server},
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
