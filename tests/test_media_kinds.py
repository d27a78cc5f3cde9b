"""Odd files: containers that lie, HDR, several tracks and layouts, cut files, playlists, names, colours."""

from __future__ import annotations

import os
import subprocess
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from avatar.core.encode import write_video
from avatar.core.files import UserError, plain_text, read_safetensors, stream_safetensors, whole
from avatar.core.media import (
    ffmpeg_binary,
    find_speech,
    measure,
    probe,
    read_speech,
    read_still,
    read_video,
    telling_line,
)
from avatar.core.speech_file import open_speech

RATE = 16000
CLEAN = Path(str(files("avatar") / "assets" / "actor_speech.flac"))
GREY = "color=gray:s=64x64:r=25"
Note = warnings.WarningMessage


def run(*arguments: str, check: bool = True) -> str:
    done = subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *arguments], capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    run("-i", str(CLEAN), "-t", "8", "-c:a", "pcm_s16le", str(path))
    return path


def samples(path: Path) -> np.ndarray:
    return np.concatenate([chunk.numpy() for chunk in read_speech(path)])


def lag(found: np.ndarray, clean: np.ndarray) -> float:
    """Seconds by which sound is late against the clean one, by correlation."""
    count = len(found) + len(clean)
    spectrum = np.fft.rfft(found, count) * np.conj(np.fft.rfft(clean, count))
    best = int(np.fft.irfft(spectrum, count).argmax())
    return (best if best < count / 2 else best - count) / RATE


def likeness(found: np.ndarray, clean: np.ndarray) -> float:
    """Correlation with the clean sound where both lie best, 0..1."""
    late = round(lag(found, clean) * RATE)
    pair = found[max(0, late) :], clean[max(0, -late) :]
    count = min(len(part) for part in pair)
    return abs(float(np.corrcoef(pair[0][:count], pair[1][:count])[0, 1]))


# B: what a container says is a hint


def test_lengths_are_those_of_what_can_be_read(speech: Path, tmp_path: Path) -> None:
    both = ("-f", "lavfi", "-i", f"{GREY}:d=8", "-i", str(speech), "-shortest")
    run(*both, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-live", "1", str(tmp_path / "live.webm"))
    assert abs(probe(tmp_path / "live.webm").seconds - 8) < 0.05
    data = bytearray(speech.read_bytes())
    for size in (0, 0xFFFFFFFF):  # of speech synthesis that streams
        data[4:8] = data[data.index(b"data") + 4 :][:4] = size.to_bytes(4, "little")
        data[data.index(b"data") + 4 : data.index(b"data") + 8] = size.to_bytes(4, "little")
        (tmp_path / "stream.wav").write_bytes(data)
        assert abs(len(samples(tmp_path / "stream.wav")) / RATE - 8) < 0.01
    run(*both, "-c:v", "libx264", "-c:a", "aac", str(tmp_path / "x.mp4"))
    film = bytearray((tmp_path / "x.mp4").read_bytes())
    for box, skipped in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):  # headers that say half a second
        start = 0
        while (start := film.find(box, start) + 4) > 3:
            film[start + skipped : start + skipped + 4] = (500).to_bytes(4, "big")
    (tmp_path / "lies.mp4").write_bytes(film)
    info = measure(tmp_path / "lies.mp4", probe(tmp_path / "lies.mp4"))
    assert abs(info.seconds - 8) < 0.1


def test_a_film_without_a_frame_rate_is_measured(tmp_path: Path) -> None:
    run("-f", "lavfi", "-i", f"{GREY}:d=2", "-c:v", "libx264", str(tmp_path / "raw.h264"))
    info = measure(tmp_path / "raw.h264", probe(tmp_path / "raw.h264"))
    assert info.seconds == pytest.approx(2, abs=0.1)
    assert len(list(read_video(tmp_path / "raw.h264", size=64))) == pytest.approx(50, abs=2)


# C: HDR


def pq(nits: float) -> float:
    """Signal of a luminance (ITU-R BT.2100, table 4)."""
    power = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(nits: float) -> float:
    """Signal of a luminance of neutral grey on a display of 1000 nits (ITU-R BT.2100, table 5)."""
    scene = (nits / 1000) ** (1 / 1.2)
    return (3 * scene) ** 0.5 if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073


def patches(path: Path, signals: list[float], tags: str) -> None:
    """Neutral patches of signals 0..1 side by side, ten bits."""
    luma = np.repeat(np.array([round(64 + 876 * signal) for signal in signals], "<u2"), 16)
    frame = np.broadcast_to(luma, (64, len(luma))).tobytes()
    grey = np.full((32, len(luma) // 2), 512, "<u2").tobytes()
    raw = path.with_suffix(".yuv")
    raw.write_bytes((frame + 2 * grey) * 5)
    coded = ("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{len(luma)}x64", "-r", "25", "-i", str(raw))
    run(*coded, "-c:v", "libx265", "-x265-params", f"log-level=none:lossless=1:{tags}", str(path))


BT2020 = "colorprim=bt2020:colormatrix=bt2020nc:"


@pytest.mark.parametrize(
    ("curve", "tags"),
    [
        (hlg, f"{BT2020}transfer=arib-std-b67"),
        (pq, f"{BT2020}transfer=smpte2084"),
        (hlg, "transfer=arib-std-b67"),
        (pq, "transfer=smpte2084"),
        (pq, "transfer=smpte2084:colormatrix=bt2020nc:max-cll=1000,400"),
    ],
)
def test_white_is_white_and_greys_are_grey(tmp_path: Path, curve, tags: str) -> None:
    relative = [1.0, 0.5, 0.18, 0.09, 1000 / 203]  # of diffuse white, 203 nits (ITU-R BT.2408)
    patches(tmp_path / "x.mp4", [curve(203 * light) for light in relative], tags)
    still = read_still(tmp_path / "x.mp4", probe(tmp_path / "x.mp4"), 0.0)
    shown = still[32, 8::16].astype(float)
    assert np.ptp(shown, axis=1).max() <= 2, "neutral"
    white, *greys, brightest = shown.mean(1)
    assert 235 <= white <= 250
    assert white + 5 < brightest <= 255
    for grey, light in zip(greys, relative[1:4], strict=True):
        assert grey == pytest.approx(255 * light ** (1 / 2.4), rel=0.05)  # BT.1886


# D, E: where speech lies


SILENCE, MUSIC = "anullsrc=r=48000:cl=stereo:d=8", "aevalsrc='.2*sin(440*PI*t)+.2*sin(554*PI*t)':d=8:s=48000"
NOISE = "anoisesrc=d=8:a=0.2:r=48000"
PLACES = {
    "the second track, after silence": ("x.m4a", SILENCE, ("-map", "0", "-map", "1"), 1),
    "the second track, after music": ("x.mkv", MUSIC, ("-map", "0", "-map", "1"), 1),
    "the second track, after noise": ("x.mkv", NOISE, ("-map", "0", "-map", "1"), 1),
    "the first of two": ("x.mkv", MUSIC, ("-map", "1", "-map", "0"), 0),
    "one side": ("x.wav", SILENCE, ("-filter_complex", "[1]pan=stereo|c1=c0"), 0),
    "one side, noise on the other": ("x.wav", NOISE, ("-filter_complex", "[0][1]amerge"), 0),
    "both sides against each other": ("x.wav", SILENCE, ("-filter_complex", "[1]pan=stereo|c0=c0|c1=-1*c0"), 0),
    "the middle of 5.1": ("x.ac3", SILENCE, ("-filter_complex", "[1]pan=5.1(side)|FC=c0", "-ar", "48000"), 0),
    "the low frequencies of 5.1": ("x.mkv", SILENCE, ("-filter_complex", "[1]pan=5.1|LFE=c0", "-c:a", "pcm_s16le"), 0),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_speech_is_found_wherever_it_lies(speech: Path, tmp_path: Path, place: str) -> None:
    name, other, options, track = PLACES[place]
    path, clean = tmp_path / name, samples(speech)
    run("-f", "lavfi", "-i", other, "-i", str(speech), *options, str(path))
    assert find_speech(path).track == track
    with open_speech(path) as sound:
        found = torch.cat(list(sound.chunks())).numpy()
        frames = [np.zeros((64, 64, 4), np.uint8)] * 25
        for ending in (".mov", ".webm"):
            write_video(frames, tmp_path / f"film{ending}", fps=25, sound=sound.track)
            film = probe(tmp_path / f"film{ending}")
            assert len(film.sounds) == 1
            assert film.sounds[0].channels <= 2
            sounding = samples(tmp_path / f"film{ending}")
            assert abs(lag(sounding, clean)) < 0.01
    assert abs(lag(found, clean)) < 0.01
    assert likeness(found, clean) > 0.9


def test_speech_is_found_among_channels_that_are_not_named(speech: Path, tmp_path: Path) -> None:
    clean = samples(speech)
    many = np.zeros((len(clean), 18), np.float32)
    many[:, 11] = clean
    wavfile.write(tmp_path / "x.wav", RATE, many)
    assert find_speech(tmp_path / "x.wav").channel == 11
    wavfile.write(tmp_path / "x.wav", RATE, np.repeat(clean[:, None], 18, 1))
    assert likeness(samples(tmp_path / "x.wav"), clean) > 0.99
    for ending in (".mov", ".webm"):
        frames = [np.zeros((64, 64, 4), np.uint8)] * 25
        write_video(frames, tmp_path / f"film{ending}", fps=25, sound=find_speech(tmp_path / "x.wav"))
        assert likeness(samples(tmp_path / f"film{ending}"), clean) > 0.9


def test_a_track_is_chosen_and_no_speech_is_said(speech: Path, tmp_path: Path) -> None:
    run("-f", "lavfi", "-i", SILENCE, "-i", str(speech), "-map", "0", "-map", "1", str(tmp_path / "x.mka"))
    with pytest.warns(UserWarning, match="x.mka: the speech is in sound track 2 of 2"):
        find_speech(tmp_path / "x.mka")
    with pytest.warns(UserWarning, match="no speech"):
        assert find_speech(tmp_path / "x.mka", track=1).track == 0
    with pytest.raises(UserError, match="has 2 sound tracks, so there is no --audio-track 3"):
        find_speech(tmp_path / "x.mka", track=3)


def test_the_telling_line_is_shown(speech: Path, tmp_path: Path) -> None:
    said = run(
        "-i",
        str(speech),
        "-filter_complex",
        "pan=5.1(side)|FC=c0",
        "-c:a",
        "libopus",
        str(tmp_path / "x.webm"),
        check=False,
    )
    assert "Invalid channel layout 5.1(side)" in telling_line(said, "")
    assert telling_line("", "unknown reason") == "unknown reason"
    wavfile.write(tmp_path / "x.wav", RATE, np.zeros(RATE, np.int16))
    data = bytearray((tmp_path / "x.wav").read_bytes())
    data[20:22] = (0x2001).to_bytes(2, "little")  # says that it is DTS
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(UserError, match=r"x.wav: (its sound cannot be decoded \(.+\)|is not)"):
        samples(tmp_path / "x.wav")


# F: cut short


@pytest.mark.parametrize("name", ["x.m4a", "x.wav", "x.mkv", "x.flac"])
def test_cut_files_go_on_and_say_so(speech: Path, tmp_path: Path, name: str) -> None:
    run("-i", str(speech), *(("-movflags", "faststart") if name == "x.m4a" else ()), str(tmp_path / name))
    data = (tmp_path / name).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(samples(tmp_path / name)) / RATE == pytest.approx(8, abs=0.1)
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    with pytest.warns(UserWarning, match=rf"{name}: 8\.0 s announced, [45]\.\d s could be read"):
        assert 4 < len(samples(tmp_path / name)) / RATE < 6


@pytest.mark.parametrize("options", [("-t", "12"), ("-output_ts_offset", "7.1")])
@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_files_that_are_whole_are_not_said_to_be_cut(
    speech: Path, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    """Sound that ends before the picture; a clock that begins late, which the length in the header counts in."""
    film = ("-f", "lavfi", "-i", f"{GREY}:d=12", "-i", str(speech), "-map", "0", "-map", "1")
    run(*film, "-c:v", "libx264", "-c:a", "aac", *options, str(tmp_path / name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(samples(tmp_path / name)) / RATE == pytest.approx(8, abs=0.1)


# U: nothing but the file itself is read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:2.0,\n{secret}\n#EXT-X-ENDLIST\n"),
        ("x.wav", "ffconcat version 1.0\nfile {secret}\n"),
        ("x.mp4", "#EXTM3U\n#EXTINF:2.0,\n{secret}\n#EXT-X-ENDLIST\n"),
        ("x.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n"),
        (
            "x.mpd",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="1">'
            "<BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        ),
    ],
)
def test_playlists_are_refused(speech: Path, tmp_path: Path, name: str, text: str) -> None:
    run("-i", str(speech), "-c:a", "aac", str(tmp_path / "secret.ts"))
    (tmp_path / name).write_text(text.format(secret=tmp_path / "secret.ts"))
    with pytest.raises(UserError, match=f"{name}: is not a video or sound file"):
        samples(tmp_path / name)
    with pytest.raises(UserError):
        write_video([np.zeros((64, 64, 3), np.uint8)] * 5, tmp_path / "o.mp4", fps=25, sound=tmp_path / name)


# I: names

NAMES = [
    b"12:30 news",
    b"-i",
    b"two\nlines",
    b"caf\xe9",
    b"%03d",
    b'it\'s "a" 50% $HOME',
    b"x" * 251,
    "\U0001f642".encode() * 62,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_legal_name_works(speech: Path, tmp_path: Path, name: bytes) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    sound = place.with_name(place.name + ".wav")
    sound.write_bytes(speech.read_bytes())
    assert len(samples(sound)) == len(samples(speech))
    film = place.with_name(place.name + ".mp4")
    assert write_video([np.zeros((64, 64, 3), np.uint8)] * 5, film, fps=25, sound=sound) == 5
    assert len(list(read_video(film, size=64))) == 5
    assert len(os.listdir(tmp_path)) == 2
    plain_text(film.name).encode()


def test_pictures_of_a_take_have_any_name(tmp_path: Path) -> None:
    from preprocess.take_folder import read_picture, write_picture

    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    for name in (b"caf\xe9.png", b"-x.png", b"a:b.png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        write_picture(path, picture)
        assert np.array_equal(read_picture(path)[..., ::-1], picture)
    (tmp_path / "no.png").write_bytes(b"no")
    with pytest.raises(UserError, match="not a picture"):
        read_picture(tmp_path / "no.png")
    with whole(tmp_path / ("y" * 255)) as temporary:
        temporary.write_bytes(b"")


def test_avatars_and_tracks_have_any_name(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, dtype=torch.uint8)}
    for name in (b"caf\xe9.avatar", b"-x.avatar", "\U0001f642.avatar".encode()):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        stream_safetensors(tensors, path, {"format": "x"})
        read, metadata = read_safetensors(path)
        assert metadata == {"format": "x"}
        assert all(torch.equal(read[key], tensors[key]) for key in tensors)


# N: colours

COLOURS = [(200, 30, 30), (30, 180, 60), (40, 60, 200), (200, 160, 130), (128, 128, 128), (235, 235, 235)]


@pytest.mark.parametrize(("name", "channels"), [("x.mp4", 3), ("x.mov", 3), ("x.mov", 4), ("x.webm", 4)])
def test_colours_come_back_as_bt709(tmp_path: Path, name: str, channels: int) -> None:
    rgb = np.repeat(np.repeat(np.array([COLOURS], np.uint8), 32, 0), 32, 1)
    frame = rgb if channels == 3 else np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    write_video([frame] * 5, tmp_path / name, fps=25)
    said = subprocess.run([ffmpeg_binary(), "-hide_banner", "-i", str(tmp_path / name)], capture_output=True, text=True)
    assert "bt709" in said.stderr
    assert "bt470bg" not in said.stderr
    # as a player of HD films does, whatever the tags say
    as_hd = ("-vf", "scale=in_color_matrix=bt709:in_range=tv,format=rgb24", "-frames:v", "1", "-f", "rawvideo")
    run("-i", str(tmp_path / name), *as_hd, str(tmp_path / "raw"))
    back = np.fromfile(tmp_path / "raw", np.uint8).reshape(rgb.shape)
    assert np.abs(back[16, 16::32].astype(int) - rgb[16, 16::32]).max() <= 2
    info = probe(tmp_path / name)
    by_tags = read_still(tmp_path / name, info, 0.0)
    assert np.abs(by_tags[16, 16::32].astype(int) - rgb[16, 16::32]).max() <= 2
