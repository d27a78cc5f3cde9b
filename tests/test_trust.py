"""Signed manifests: keys, what films say, and what `avatar verify` makes of changed ones."""

from __future__ import annotations

import datetime
import json
import shutil
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from avatar.cli import app
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media import ffmpeg_binary
from avatar.core.outputs import unsigned_name
from avatar.pipelines.options import Signing
from avatar.pipelines.signing import signed_output
from avatar.provenance import keys as keys_module
from avatar.provenance import log
from avatar.provenance.films import windows
from avatar.provenance.keys import CERTIFICATE, KEY, ROOT, ROOT_KEY, SigningKeys, make_keys, read_keys
from avatar.provenance.mark import mark_frames
from avatar.provenance.sign import FACTS, Film, manifest, sign, signed
from avatar.provenance.verify import read_manifest, verify
from tests.recorded import invoke
from tests.test_mark import NUMBER, as_rgb, scene

pytest.importorskip("c2pa", reason="the extra 'trust' is not installed")
FACTS_OF_FILM = {"avatar": "0123456789abcdef", "mark": f"{NUMBER:08x}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("keys")
    make_keys(place / "own", "Test Studio")
    return place


@pytest.fixture(scope="module")
def own(folder: Path) -> SigningKeys:
    return read_keys(folder / "own")


@pytest.fixture(scope="module")
def film(own: SigningKeys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed and marked film, and its unsigned sibling."""
    out = tmp_path_factory.mktemp("film") / "film.mp4"
    with signed(out, Film(FACTS_OF_FILM), own) as place:
        assert place == unsigned_name(out)
        write_video(mark_frames(map(as_rgb, scene(10)), NUMBER), place, fps=25)
        shutil.copy(place, out.with_name("plain.mp4"))
    assert not unsigned_name(out).exists()
    return out


def roots(folder: Path) -> str:
    return (folder / "own" / ROOT).read_text()


def test_keys_are_private_and_not_replaced(folder: Path) -> None:
    for name in (KEY, ROOT_KEY):
        assert stat.S_IMODE((folder / "own" / name).stat().st_mode) == 0o600
    with pytest.raises(UserError, match="holds keys already"):
        make_keys(folder / "own", "Test Studio")
    assert "BEGIN" not in repr(read_keys(folder / "own"))


def test_a_key_that_others_can_read_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "own", tmp_path / "keys")
    (tmp_path / "keys" / KEY).chmod(0o644)
    with pytest.raises(UserError, match=r"key\.pem: others can read it \(mode 644\)"):
        read_keys(tmp_path / "keys")
    with pytest.raises(UserError, match="no such certificate"):
        read_keys(tmp_path)


@pytest.mark.parametrize(("years", "message"), [(5, "expired on"), (-5, "set the clock")])
def test_certificates_out_of_date_are_refused(
    folder: Path, years: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365 * years)
    clock = SimpleNamespace(now=lambda zone: now)
    monkeypatch.setattr(keys_module, "datetime", SimpleNamespace(datetime=clock, UTC=datetime.UTC))
    with pytest.raises(UserError, match=message):
        read_keys(folder / "own")


def test_a_film_says_by_whom_and_of_what_it_was_made(film: Path, folder: Path) -> None:
    found = verify(film, roots=roots(folder))
    assert (found.manifest.state, found.manifest.by) == ("trusted", "Test Studio")
    assert found.manifest.facts == FACTS_OF_FILM
    assert found.mark is not None
    assert found.mark.number == NUMBER
    assert found.layer() == "both"
    assert read_manifest(film).state == "valid", "by a root that is not known"
    assert film.stat().st_size - film.with_name("plain.mp4").stat().st_size < 20_000


def test_changed_films_are_found_out(film: Path, folder: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    data[len(data) - 2000] ^= 1
    (tmp_path / "changed.mp4").write_bytes(data)
    changed = read_manifest(tmp_path / "changed.mp4", roots=roots(folder))
    assert (changed.state, changed.why) == ("invalid", "assertion.bmffHash.mismatch")
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:-300])
    assert read_manifest(tmp_path / "cut.mp4", roots=roots(folder)).state == "invalid"
    command = [ffmpeg_binary(), "-v", "error", "-i", str(film), "-c", "copy", str(tmp_path / "again.mp4")]
    subprocess.run(command, check=True)
    again = verify(tmp_path / "again.mp4", roots=roots(folder))
    assert again.manifest.state == "none"
    assert again.layer() == "mark", "what is left after the manifest is lost"


def test_a_film_without_either_has_none(tmp_path: Path) -> None:
    write_video(map(as_rgb, scene(5)), tmp_path / "x.mp4", fps=25)
    found = verify(tmp_path / "x.mp4")
    assert (found.manifest.state, found.mark, found.layer()) == ("none", None, "none")


def test_manifests_of_inputs_are_kept(film: Path, own: SigningKeys, tmp_path: Path) -> None:
    import c2pa

    out = tmp_path / "dubbed.mp4"
    sign(film.with_name("plain.mp4"), out, Film({}, [film], composite=True), own)
    with c2pa.Reader(out) as reader:
        store, active = json.loads(reader.json()), reader.get_active_manifest()
    assert [one["title"] for one in active["ingredients"]] == ["film.mp4"]
    assert len(store["manifests"]) == 2
    assert any(FACTS in str(one) for one in store["manifests"].values())


def test_what_was_generated_and_what_was_filmed_is_told_apart() -> None:
    def kind(film: Film) -> str:
        return manifest(film, "x")["assertions"][0]["data"]["actions"][0]["digitalSourceType"].rpartition("/")[2]

    assert kind(Film({})) == "trainedAlgorithmicMedia"
    assert kind(Film({}, composite=True)) == "compositeWithTrainedAlgorithmicMedia"


def test_an_unsigned_film_never_gets_the_name_asked_for(own: SigningKeys, tmp_path: Path) -> None:
    out, wrong = tmp_path / "x.mp4", SigningKeys(own.certificates, b"no key")
    message = r"x\.mp4: cannot be signed \(.*\); .*x\.unsigned\.mp4 is unsigned"
    with pytest.raises(UserError, match=message), signed(out, Film({}), wrong) as place:
        write_video(map(as_rgb, scene(2)), place, fps=25)
    assert not out.exists()
    assert unsigned_name(out).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["x.unsigned.mp4"]


def test_a_picture_is_signed(own: SigningKeys, folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(as_rgb(scene(1)[0])).save(tmp_path / "x.png")
    sign(tmp_path / "x.png", tmp_path / "y.png", Film(FACTS_OF_FILM), own)
    assert read_manifest(tmp_path / "y.png", roots=roots(folder)).state == "trusted"


def test_the_command_prints_lines_or_json(
    film: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert "manifest valid, signed by Test Studio; mark c0ffee42" in invoke("verify", film)
    (found,) = json.loads(invoke("verify", "--json", "--root", folder / "own" / ROOT, film))
    assert (found["layer"], found["manifest"]["state"], found["mark"]["number"]) == ("both", "trusted", "c0ffee42")
    (tmp_path / "x.mp4").write_bytes(b"no film")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "x.mp4"), str(film)])
    assert result.exit_code == 1
    assert "mark c0ffee42" in result.stdout, "the others are read all the same"
    assert invoke("keys", "init", "--organization", "Me").startswith(str(tmp_path / "avatar-builder" / "keys"))
    assert (tmp_path / "avatar-builder" / "keys" / CERTIFICATE).is_file()


def test_the_log_knows_what_was_made_here_after_it_was_encoded_again(
    film: Path, own: SigningKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(log.SWITCH, "on")
    assert log.entries(5) == log.find("", "") == []
    out, facts = tmp_path / "made.mp4", Film(FACTS_OF_FILM)
    for _ in range(2):
        with signed_output(Signing(unsigned=True), facts, out) as place:
            shutil.copy(film.with_name("plain.mp4"), place)
    again = tmp_path / "again.mp4"
    command = [ffmpeg_binary(), "-v", "error", "-i", str(out), "-c:v", "libx264", "-crf", "26", str(again)]
    subprocess.run(command, check=True)
    for place in (out, again):
        found = verify(place, logged=True).log
        assert [(one.file, one.mark) for one in found] == [(str(out), f"{NUMBER:08x}")] * 2
    assert "made here" in invoke("verify", "--log", again)
    assert invoke("log", "note", f"{NUMBER:08x}", "for the museum").endswith("2 films\n")
    assert invoke("log", "show", "--last", 1).rstrip().endswith("made.mp4  for the museum")
    monkeypatch.setenv(log.SWITCH, "off")
    with signed_output(Signing(unsigned=True), facts, out) as place:
        shutil.copy(film, place)
    assert len(log.entries(9)) == 2
    monkeypatch.setenv(log.SWITCH, "on")
    log.log_file().write_bytes(b"no log " * 200)
    with pytest.warns(UserWarning, match="is not in the log"), signed_output(Signing(unsigned=True), facts, out):
        pass
    assert out.is_file()


def test_windows_of_long_films_are_few_and_spread() -> None:
    assert windows(3) == [0]
    assert windows(12) == [0, 5]
    assert len(windows(7200)) == 24
    assert windows(7200)[-1] == pytest.approx(7195)
    assert np.diff(windows(7200)).min() > 300
