"""What `avatar verify` and signing make of films that are long, of another tool, or not whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avatar.cli import app
from avatar.core.encode import write_video
from avatar.core.media import ffmpeg_binary
from avatar.provenance.keys import make_keys, read_keys
from avatar.provenance.mark import mark_frames
from avatar.provenance.sign import Film, signed
from avatar.provenance.verify import read_manifest, verify
from tests.test_mark import NUMBER, as_rgb, scene

c2pa = pytest.importorskip("c2pa", reason="the extra 'trust' is not installed")
MEASURE = """
import resource, sys
from pathlib import Path
import c2pa
from avatar.provenance.keys import read_keys
from avatar.provenance.sign import Film, sign
from avatar.provenance.verify import read_manifest
film, out, keys = map(Path, sys.argv[1:])
keys, before = read_keys(keys), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sign(film, out, Film({}), keys)
print(read_manifest(out).state, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
HOURS, BYTES, MOST = 2, 800_000_000, 600_000_000  # c2pa hashes by two pieces of 256 MB


def ffmpeg(*arguments: object) -> None:
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_film_of_two_hours_is_signed_in_little_memory(tmp_path: Path, ending: str) -> None:
    film = tmp_path / f"long{ending}"
    picture = f"color=c=gray:s=64x64:r=0.1:d={HOURS * 3600}"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264" if ending == ".mp4" else "libvpx", film)
    with film.open("ab") as file:  # as large as such a film is, without its being drawn
        if ending == ".mp4":
            file.write(BYTES.to_bytes(4, "big") + b"mdat")
        file.truncate(film.stat().st_size + BYTES)
    make_keys(tmp_path / "keys", "Test Studio")
    signed_film = tmp_path / f"signed{ending}"
    command = [sys.executable, "-c", MEASURE, film, signed_film, tmp_path / "keys"]
    state, grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert state == "valid"
    assert int(grown) * 1024 < MOST, "bytes of memory"
    with signed_film.open("r+b") as file:
        file.seek(-BYTES // 2, 2)
        file.write(b"x")
    assert read_manifest(signed_film).state == "invalid"


def test_a_film_of_another_tool_says_so(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys", "Elsewhere")
    keys = read_keys(tmp_path / "keys")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1", tmp_path / "other.mp4")
    found = verify(tmp_path / "other.mp4")
    assert (found.manifest.state, found.layer()) == ("none", "none")
    builder = c2pa.Builder({"claim_generator_info": [{"name": "another tool"}], "title": "other", "assertions": []})
    builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    info = c2pa.C2paSignerInfo(b"es256", keys.certificates, keys.key, None)
    with c2pa.Signer.from_info(info) as signer:
        builder.sign_file(tmp_path / "other.mp4", tmp_path / "theirs.mp4", signer)
    theirs = verify(tmp_path / "theirs.mp4")
    assert (theirs.manifest.state, theirs.manifest.by) == ("valid", "Elsewhere")
    assert theirs.manifest.facts is None, "it is no film of this project"


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".webm"])
def test_tampered_remuxed_and_truncated_films_are_found_out(tmp_path: Path, ending: str) -> None:
    from avatar.core.coding import Coding

    make_keys(tmp_path / "keys", "Test Studio")
    film = tmp_path / f"film{ending}"
    with signed(film, Film({}), read_keys(tmp_path / "keys")) as place:
        coding = Coding("av1" if ending == ".webm" else "h264", "draft")
        write_video(mark_frames(map(as_rgb, scene(10)), NUMBER), place, fps=25, coding=coding)
    whole = film.read_bytes()
    assert read_manifest(film).state == "valid"
    for place in (len(whole) // 3, len(whole) // 2, len(whole) - 60):
        film.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_manifest(film).state == "invalid", place
    film.write_bytes(whole[: len(whole) * 2 // 3])
    assert read_manifest(film).state == "invalid"
    film.write_bytes(whole)
    again = tmp_path / f"again{ending}"
    ffmpeg("-i", film, "-c", "copy", again)
    found = verify(again)
    assert (found.manifest.state, found.layer()) == ("none", "mark")


def test_a_command_that_cannot_sign_ends_with_an_error_and_another_name(
    avatar_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from avatar.core.media import write_wav
    from avatar.provenance import sign as signing

    make_keys(tmp_path / "keys", "Test Studio")
    write_wav(tmp_path / "x.wav", torch.zeros(4000))

    def refuse(film: Film, title: str) -> dict[str, str]:
        raise c2pa.C2paError("no more disk")

    monkeypatch.setattr(signing, "manifest", refuse)
    out = tmp_path / "film.mp4"
    command = ["speak", avatar_file, tmp_path / "x.wav", "-o", out, "--size", 64, "--sign", tmp_path / "keys"]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 1
    assert "film.mp4: cannot be signed (no more disk)" in str(result.exception)
    assert not out.exists()
    assert (tmp_path / "film.unsigned.mp4").is_file()
