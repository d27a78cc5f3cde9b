"""Video and sound, in and out, through the ffmpeg binary.

Every reader keeps one clock: 0 s is where the earliest of a file's tracks begins, by the file's own time stamps. Sound
that starts late or has a gap is padded with silence; a picture that starts late is shown from the beginning on.
"""

from avatar.core.media_command import LOCAL, ffmpeg_binary, telling_line
from avatar.core.media_info import (
    WHOLE,
    Packets,
    Stretch,
    VideoInfo,
    is_cut_short,
    measure,
    probe,
    scan_packets,
)
from avatar.core.media_pictures import read_filling, read_order, read_small, read_still, read_video, read_whole
from avatar.core.media_samples import CHUNK, CLOCK, SAMPLE_RATE, SoundTrack, steady
from avatar.core.media_sound import read_speech, write_wav
from avatar.core.media_speech import find_speech

__all__ = [
    "CHUNK",
    "CLOCK",
    "LOCAL",
    "SAMPLE_RATE",
    "WHOLE",
    "Packets",
    "SoundTrack",
    "Stretch",
    "VideoInfo",
    "ffmpeg_binary",
    "find_speech",
    "is_cut_short",
    "measure",
    "probe",
    "read_filling",
    "read_order",
    "read_small",
    "read_speech",
    "read_still",
    "read_video",
    "read_whole",
    "scan_packets",
    "steady",
    "telling_line",
    "write_wav",
]
