"""Voices: durations of a graph are its phones' times; of programs and servers only what is right is believed."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar.core.articulation import Phone
from avatar.core.files import UserError
from avatar.voice import server
from avatar.voice.engines import VoiceChoice, open_voice, speak
from avatar.voice.graph import AHEAD, RATE, SAMPLES_PER_UNIT, halves, make_chunk, open_graph, tokenize
from avatar.voice.kokoro import LANGUAGES, read_model, read_style
from avatar.voice.passages import Chunk, Part, Passage
from avatar.voice.phones import spread, timed_phones
from avatar.voice.wav import read_wav, sounding

TEXT = "Hello, Bob. *Many* maps: 25 of them!"


def wav_of(samples: np.ndarray, rate: int = 24_000) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return held.getvalue()


def tone(seconds: float, rate: int = 24_000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)


def test_durations_become_an_output() -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Abs", ["x"], ["inner"]), helper.make_node("Neg", ["inner"], ["y"])]
    sides = [[helper.make_tensor_value_info(name, kind, [2])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *sides)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    last, inner = open_graph(model, "inner").run(None, {"x": np.array([1.5, -2.0], np.float32)})
    assert last.tolist() == [-1.5, -2.0]
    assert inner.tolist() == [1.5, 2.0]
    with pytest.raises(UserError, match="no speech graph"):
        open_graph(model, "missing")
    with pytest.raises(UserError, match="no speech graph"):
        open_graph(b"nonsense", "inner")


def test_a_chunks_times_are_those_of_its_durations() -> None:
    passage = Passage((Part("ma"), Part("bo.", emphasised=True)))
    tokens = tokenize(["mˈa", "bO."], {symbol: i for i, symbol in enumerate("maˈbO. ", 1)})
    assert tokens.symbols == "mˈa bO."
    durations = np.array([12, 2, 1, 4, 1, 3, 5, 6, 2], np.float32)
    pcm = np.full(int(durations.sum()) * SAMPLES_PER_UNIT, 0.1, np.float32)
    chunk = make_chunk(passage, tokens, pcm, durations, 1.0)
    lead, unit = 0.08, 0.025
    assert len(chunk.pcm) == len(pcm) - round((12 * unit - AHEAD - lead) * RATE)
    assert [phone.symbol for phone in chunk.phones] == ["m", "a", "b", "ow", "pau"]
    borders = lead + unit * np.array([0, 2, 8, 11, 16, 22])  # stress is the vowel's after it, a space the one's before
    found = [phone.start for phone in chunk.phones] + [chunk.phones[-1].stop]
    assert np.allclose(found, borders)
    assert chunk.spoken[0].start == pytest.approx(borders[0])
    assert chunk.spoken[0].stop == pytest.approx(borders[2] - unit)
    assert (chunk.spoken[1].start, chunk.spoken[1].stop) == pytest.approx((borders[2], borders[4]))
    assert chunk.pcm[round(0.1 * RATE)] == pytest.approx(0.1)
    assert chunk.pcm[round(borders[3] * RATE)] == pytest.approx(0.135)
    with pytest.raises(UserError, match="durations are not those of its sound"):
        make_chunk(passage, tokens, pcm[:-5], durations, 1.0)
    assert [half.text for half in halves(passage) or ()] == ["ma", "bo."]


def test_symbols_and_marks() -> None:
    times = np.arange(9.0).tolist()
    phones = timed_phones("tˈiːʧA→ ", times)
    assert [(one.symbol, one.start, one.stop) for one in phones] == [
        ("t", 0, 1), ("iy", 1, 4), ("ch", 4, 5), ("ey", 5, 8),
    ]  # fmt: skip
    made, spoken = spread([Part("tea"), Part("map.")], ["tˈi", "mæp."], 0.5, 2.0)
    assert (made[0].start, spoken[0].start) == (0.5, 0.5)
    assert spoken[1].stop == pytest.approx(2.0)
    assert made[-1] == Phone("pau", pytest.approx(2.0), made[-1].stop)


def voiced(chunk: Chunk, phone: Phone) -> float:
    return float(np.abs(chunk.pcm[round(phone.start * chunk.rate) : round(phone.stop * chunk.rate)]).max())


def test_hibari_says_what_it_is_given() -> None:
    pytest.importorskip("hibari")
    voice = open_voice(VoiceChoice())
    chunks = list(speak(TEXT, voice))
    spoken = [chunk for chunk in chunks if chunk.spoken]
    assert [one.part.text for chunk in spoken for one in chunk.spoken] == ["Hello, Bob.", "Many", "maps: 25 of them!"]
    for chunk in spoken:
        assert chunk.timed
        assert np.abs(chunk.pcm).max() <= 1
        assert chunk.phones[-1].stop <= chunk.seconds + 1e-6
        vowels = [voiced(chunk, phone) for phone in chunk.phones if phone.symbol in ("ow", "aa", "ae", "eh")]
        assert min(vowels) > 4 * voiced(chunk, Phone("", 0.0, 0.03))
    slow, fast = (sum(one.seconds for one in speak(TEXT, voice, speed=speed)) for speed in (0.8, 1.6))
    assert slow > 1.5 * fast
    assert np.array_equal(next(speak(TEXT, voice)).pcm, spoken[0].pcm), "the same text sounds the same"


def test_silent_lips_last_as_long_as_speech() -> None:
    pytest.importorskip("hibari")
    voice, silent = (open_voice(VoiceChoice(silent=silent)) for silent in (False, True))
    said, shown = (list(speak(TEXT, one)) for one in (voice, silent))
    assert not any(chunk.pcm.any() for chunk in shown)
    assert [p.symbol for c in said for p in c.phones] == [p.symbol for c in shown for p in c.phones]
    assert 0.6 < sum(one.seconds for one in shown) / sum(one.seconds for one in said) < 1.6


class Words:
    """A voice that says each letter in 50 ms."""

    rate, language = 8000, "en-us"

    def phonemize(self, text: str) -> str:
        return ""

    def say(self, passage: Passage, speed: float) -> Chunk:
        seconds = 0.05 * len(passage.text) / speed
        return Chunk(
            np.ones(round(seconds * self.rate), np.float32),
            self.rate,
            *spread(passage.parts, [""] * len(passage.parts), 0, seconds),
        )


def test_subtitles_are_said_at_their_times(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    file.write_text("1\n00:00:01,000 --> 00:00:02,000\n" + "a" * 24 + "\n\n2\n00:00:03,000 --> 00:00:04,000\nb\n")
    clock, begun = 0.0, []
    for chunk in speak(file, Words()):
        if chunk.spoken:
            begun.append(clock)
            assert chunk.seconds <= 1.001, "said faster, so that it fits"
        clock += chunk.seconds
    assert begun == [1.0, 3.0]
    file.write_text("1\n00:00:01,000 --> 00:00:02,000\n" + "a" * 99 + "\n\n2\n00:00:02,500 --> 00:00:04,000\nb\n")
    with pytest.warns(UserWarning, match="after its subtitle"):
        list(speak(file, Words()))


def test_pages_come_one_sentence_at_a_time() -> None:
    chunks = speak("All work and no play. " * 20_000, Words())
    assert next(chunks).spoken[0].part.text == "All work and no play."


@contextmanager
def listening(answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: Any) -> None:
            pass

    served = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}/v1/audio/speech"
    finally:
        served.shutdown()
        served.server_close()


def reply(handler: BaseHTTPRequestHandler, code: int, data: bytes, **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def test_a_server_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        asked.append(json.loads(body) | {"key": handler.headers.get("Authorization")})
        reply(handler, 200, wav_of(np.concatenate([np.zeros(2400), tone(1.0), np.zeros(2400)])))

    monkeypatch.setenv(server.KEY, "secret")
    with listening(answer) as url:
        chunk = next(speak("Hi there.", open_voice(VoiceChoice("http:small/nova", url=url))))
    assert asked[0]["key"] == "Bearer secret"
    assert (asked[0]["model"], asked[0]["voice"], asked[0]["input"]) == ("small", "nova", "Hi there.")
    assert chunk.spoken[0].start == pytest.approx(0.1, abs=0.01)
    assert chunk.spoken[0].stop == pytest.approx(1.1, abs=0.01)
    assert not chunk.timed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda handler, _: reply(handler, 200, b"<html>hello"), "answered '<html>hello', not a wav file"),
        (lambda handler, _: reply(handler, 401, b""), "answered 401"),
        (lambda handler, _: reply(handler, 302, b"", Location="http://127.0.0.1:1/"), "answered 302"),
        (lambda handler, _: reply(handler, 200, wav_of(np.zeros(0))), "without sound"),
        (lambda handler, _: time.sleep(0.6), "did not answer within|cannot be reached"),
    ],
)
def test_a_server_that_does_not(
    answer: Callable[[BaseHTTPRequestHandler, bytes], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TIMEOUT", 0.3)
    with listening(answer) as url, pytest.raises(UserError, match=message) as caught:
        next(speak("Hi.", open_voice(VoiceChoice("http", url=url))))
    assert "\n" not in str(caught.value)


def program(folder: Path, lines: str) -> str:
    place = folder / "voice"
    place.write_text(f"#!/bin/sh\n{lines}\n")
    place.chmod(0o755)
    return str(place)


def test_a_program_as_a_voice(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(tone(0.5, 16_000), 16_000))
    reference = tmp_path / "her"
    reference.mkdir()
    place = program(tmp_path, f'cat > {tmp_path}/text; echo "$@" > {tmp_path}/arguments; cat {tmp_path}/a.wav')
    choice = VoiceChoice(f"command:{place}", "fr", like=reference, consent="Ada agreed to this film")
    chunk = next(speak("Bonjour; rm -rf.", open_voice(choice), speed=1.5))
    assert (tmp_path / "text").read_text() == "Bonjour; rm -rf."
    assert (tmp_path / "arguments").read_text() == f"fr 1.5 {reference}\n"
    assert (chunk.rate, chunk.seconds) == (16_000, 0.5)
    with pytest.raises(UserError, match="must have agreed"):
        open_voice(VoiceChoice(f"command:{place}", like=reference))
    with pytest.raises(UserError, match="clones no voices"):
        open_voice(VoiceChoice("hibari", like=reference, consent="x"))
    with pytest.raises(UserError, match=r"failed with 3 .no licence"):
        next(speak("Hi.", open_voice(VoiceChoice(f"command:{program(tmp_path, 'echo no licence >&2; exit 3')}"))))


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_espeak_in_its_languages() -> None:
    for language, text in (("de", "Guten Morgen, Peter."), ("sw", "Habari ya asubuhi, mama."), ("en-us", "-w x.wav")):
        chunk = next(speak(text, open_voice(VoiceChoice("espeak", language))))
        assert chunk.seconds > 0.5
        assert sum(phone.symbol != "pau" for phone in chunk.phones) > 5
        assert sounding(chunk.pcm, chunk.rate)[1] == pytest.approx(chunk.spoken[-1].stop)
    with pytest.raises(UserError, match="language 'xx'"):
        open_voice(VoiceChoice("espeak", "xx"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (VoiceChoice("hibary"), "did you mean hibari"),
        (VoiceChoice("hibari", "fr"), "has no voice for it; it has en-us"),
        (VoiceChoice("kokoro", "de"), "it has en-us, en-gb, es, fr, hi, it, ja, pt-br, zh"),
        (VoiceChoice("kokoro", "fr"), "npm pack kokoro-js"),
        (VoiceChoice("http"), "--voice-url"),
        (VoiceChoice("http", url="file:///etc/passwd"), "is no URL"),
        (VoiceChoice("command:no-such-program"), "is no program"),
    ],
)
def test_a_voice_that_there_is_not(choice: VoiceChoice, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_voice(choice)


def test_speeds_and_files_of_voices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"between 0.5 and 2"):
        speak("Hi.", Words(), speed=3)
    (tmp_path / "af_heart.bin").write_bytes(b"short")
    with pytest.raises(UserError, match="no voice of Kokoro"):
        read_style(tmp_path, "af_heart")
    with pytest.raises(UserError, match="did you mean af_heart"):
        read_style(tmp_path, "af_hart")
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="nor kokoro-js"):
        read_style(tmp_path / "x.tgz", LANGUAGES["fr"].usual)
    (tmp_path / "model.onnx").write_bytes(b"other")
    with pytest.warns(UserWarning, match="SHA-256 is d9298a10d1b0"):
        read_model(tmp_path / "model.onnx")


def test_wav_of_programs_that_do_not_know_their_length() -> None:
    data = bytearray(wav_of(tone(0.1)))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert len(read_wav(bytes(data), "x")[0]) == 2400
