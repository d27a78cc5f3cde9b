"""What signs films: keys of several kinds, programs, time stamps; and manifests beside what holds none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from avatar.core.coding import Coding
from avatar.core.controls import clip_take
from avatar.core.encode import write_video
from avatar.core.files import UserError
from avatar.core.media import write_wav
from avatar.core.outputs import unsigned_name
from avatar.pipelines.options import Signing
from avatar.pipelines.say import Saying, captions_file
from avatar.pipelines.signing import signed_output, signed_target
from avatar.pipelines.speak import Target
from avatar.pipelines.speech_film import footage_take
from avatar.presenter.store import store_folder
from avatar.provenance.command import sign_by_command
from avatar.provenance.keys import CERTIFICATE, KEY, ROOT, SigningKeys, make_keys, read_keys
from avatar.provenance.mark import mark_frames
from avatar.provenance.sign import FACTS, Film, sidecar_name, sign, signed
from avatar.provenance.verify import read_manifest, verify
from tests.test_mark import NUMBER, as_rgb, scene

c2pa = pytest.importorskip("c2pa", reason="the extra 'trust' is not installed")
FILM = Film({"avatar": "0123456789abcdef", "mark": f"{NUMBER:08x}"})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("keys") / "own"
    make_keys(place, "Test Studio")
    return place


@pytest.fixture(scope="module")
def own(keys: Path) -> SigningKeys:
    return read_keys(keys)


@pytest.fixture(scope="module")
def roots(keys: Path) -> str:
    return (keys / ROOT).read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marked film without a manifest."""
    place = tmp_path_factory.mktemp("film") / "plain.mp4"
    write_video(mark_frames(map(as_rgb, scene(10)), NUMBER), place, fps=25)
    return place


def change(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_webm_has_its_manifest_beside_it(own: SigningKeys, roots: str, tmp_path: Path) -> None:
    out = tmp_path / "film.webm"
    with signed(out, FILM, own) as place:
        write_video(mark_frames(map(as_rgb, scene(10)), NUMBER), place, fps=25, coding=Coding("av1", "draft"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.webm", "film.webm.c2pa"]
    found = verify(out, roots=roots)
    assert (found.manifest.state, found.manifest.facts) == ("trusted", FILM.facts)
    assert found.manifest.sidecar == str(sidecar_name(out))
    assert found.layer() == "both"
    change(out, -100)
    changed = read_manifest(out, roots=roots)
    assert (changed.state, changed.why) == ("invalid", "assertion.dataHash.mismatch")
    with signed(out, FILM, None) as place:
        place.write_bytes(b"another film")
    assert not sidecar_name(out).exists(), "it was of another film"
    assert read_manifest(out).state == "none"


def test_a_folder_of_pictures_has_one_manifest_beside_it(own: SigningKeys, roots: str, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    for _ in range(2):  # the second in the place of the first
        with signed(out, FILM, own) as place:
            assert place == tmp_path / "frames_unsigned"
            write_video(mark_frames(map(as_rgb, scene(5)), NUMBER), place, fps=25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "frames.c2pa"]
    assert len(list(out.iterdir())) == 5
    found = verify(out, roots=roots)
    assert found.manifest.state == "trusted"
    assert found.mark is not None
    assert found.mark.number == NUMBER
    shutil.copytree(out, tmp_path / "more")
    shutil.copy(sidecar_name(out), sidecar_name(tmp_path / "more"))
    assert read_manifest(tmp_path / "more", roots=roots).state == "trusted", "by its content, not its name"
    shutil.copy(out / "000001.png", tmp_path / "more" / "000009.png")
    change(out / "000003.png", -100)
    assert read_manifest(out).state == read_manifest(tmp_path / "more").state == "invalid"


def test_commands_say_where_the_manifest_is(keys: Path, plain: Path, tmp_path: Path) -> None:
    both = Target(tmp_path / "film.webm", tmp_path / "frames")

    def make(options: Signing) -> None:
        with signed_target(options, FILM, both) as target:
            assert target.out
            assert target.frames_dir
            shutil.copy(plain, target.out)
            write_video(map(as_rgb, scene(2)), target.frames_dir, fps=25)

    with pytest.warns(UserWarning, match="holds no manifest, which is in") as said:
        make(Signing(sign=str(keys)))
    assert [str(one.message).rpartition(" is in ")[2] for one in said] == [
        f"{tmp_path / name}.c2pa: keep them together" for name in ("frames", "film.webm")
    ]
    assert read_manifest(tmp_path / "frames").state == read_manifest(tmp_path / "film.webm").state == "valid"
    with pytest.warns(UserWarning, match="is not signed: --unsigned"):
        make(Signing(unsigned=True))
    assert read_manifest(tmp_path / "frames").state == read_manifest(tmp_path / "film.webm").state == "none"


def test_a_failure_leaves_what_was_made_under_another_name(own: SigningKeys, tmp_path: Path) -> None:
    wrong = SigningKeys(own.certificates, b"no key")
    for out in (tmp_path / "x.webm", tmp_path / "frames"):
        with pytest.raises(UserError, match="cannot be signed"), signed(out, FILM, wrong) as place:
            write_video(map(as_rgb, scene(2)), place, fps=25, coding=Coding("av1", "draft"))
        assert unsigned_name(out).exists()
        assert not out.exists()
        assert not sidecar_name(out).exists()


def test_what_lies_beside_a_film_is_named_after_the_signed_one(tmp_path: Path) -> None:
    film = tmp_path / "talk.v2.mp4"
    for out in (film, unsigned_name(film)):
        assert captions_file(Saying("Hello.", captions="srt"), out, [], force=False) == tmp_path / "talk.v2.srt"
        assert clip_take(out, "style") == tmp_path / "talk.v2.style.take"
        assert footage_take(out) == tmp_path / "talk.v2.footage.take"
        assert store_folder(out) == tmp_path / "talk.v2.scenes"


def test_a_sound_is_signed(own: SigningKeys, roots: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "x.wav", torch.zeros(16000))
    sign(tmp_path / "x.wav", tmp_path / "y.wav", FILM, own)
    found = verify(tmp_path / "y.wav", roots=roots)
    assert (found.manifest.state, found.mark) == ("trusted", None)
    change(tmp_path / "y.wav", 20000)
    assert read_manifest(tmp_path / "y.wav").state == "invalid"


def test_manifests_of_inputs_are_kept_wherever_they_lie(own: SigningKeys, plain: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "speech.wav", torch.zeros(1600))
    sign(tmp_path / "speech.wav", tmp_path / "signed.wav", Film({"of": "speech"}), own)
    with signed(tmp_path / "behind.webm", Film({"of": "background"}), own) as place:
        place.write_bytes(b"\x1a\x45\xdf\xa3 a film")
    (tmp_path / "odd.jpg").write_bytes(b"no picture")
    (tmp_path / "other.xyz").write_bytes(b"of a kind that C2PA does not know")
    names = ["signed.wav", "behind.webm", "odd.jpg", "other.xyz"]
    sign(plain, tmp_path / "out.mp4", Film({}, [tmp_path / name for name in names]), own)
    with c2pa.Reader(tmp_path / "out.mp4") as reader:
        store, active = json.loads(reader.json()), reader.get_active_manifest()
    assert [one["title"] for one in active["ingredients"]] == names
    facts = [one["data"] for each in store["manifests"].values() for one in each["assertions"] if one["label"] == FACTS]
    assert {one["of"] for one in facts if one} == {"speech", "background"}


PROGRAM = """#!{python}
import sys
from pathlib import Path
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
key = serialization.load_pem_private_key(Path({key!r}).read_bytes(), None)
signature = key.sign(sys.stdin.buffer.read(), ec.ECDSA(hashes.SHA256()))
{then}
sys.stdout.buffer.write(signature)
"""
RAW = "signature = b''.join(one.to_bytes(32, 'big') for one in utils.decode_dss_signature(signature))"


def program(folder: Path, key: Path, then: str = "") -> Path:
    """A program that signs, as one for hardware keys would."""
    place = folder / "sign"
    place.write_text(PROGRAM.format(python=sys.executable, key=str(key), then=then))
    place.chmod(0o700)
    return place


@pytest.mark.parametrize("then", ["", RAW])
def test_a_program_signs(keys: Path, roots: str, plain: Path, tmp_path: Path, then: str) -> None:
    by_program = read_keys(keys / CERTIFICATE, command=program(tmp_path, keys / KEY, then))
    assert by_program.key is None
    sign(plain, tmp_path / "film.mp4", FILM, by_program)
    assert read_manifest(tmp_path / "film.mp4", roots=roots).state == "trusted"


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("sys.exit(print('no card', file=sys.stderr) or 3)", r"sign: ended with code 3 \(no card\)"),
        ("signature = signature[:9]", "sign: wrote no ES256 signature of the certificate's key"),
        ("signature = key.sign(b'else', ec.ECDSA(hashes.SHA256()))", "sign: wrote no ES256 signature"),
    ],
)
def test_a_program_that_fails_is_named(keys: Path, plain: Path, tmp_path: Path, then: str, message: str) -> None:
    wrong = read_keys(keys, command=program(tmp_path, keys / KEY, then))
    with pytest.raises(UserError, match=rf"film\.mp4: cannot be signed \(.*{message}"):
        sign(plain, tmp_path / "film.mp4", FILM, wrong)
    assert not (tmp_path / "film.mp4").exists()


def test_what_is_no_program_is_refused(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(UserError, match=r"text: is no program; chmod \+x"):
        read_keys(keys, command=tmp_path / "text")
    with pytest.raises(UserError, match="exclude each other"):
        read_keys(keys, key=keys / KEY, command=tmp_path / "text")
    (tmp_path / "text").chmod(0o700)
    with pytest.raises(UserError, match="text: cannot sign"):
        sign_by_command(read_keys(keys, command=tmp_path / "text"), b"data")


def test_certificate_and_key_may_lie_anywhere(keys: Path, roots: str, plain: Path, tmp_path: Path) -> None:
    options = Signing(sign=str(keys / CERTIFICATE), sign_key=str(keys / KEY))
    with signed_output(options, FILM, tmp_path / "a.mp4") as place:
        shutil.copy(plain, place)
    assert read_manifest(tmp_path / "a.mp4", roots=roots).state == "trusted"
    with pytest.raises(UserError, match="is a certificate without its key; add --sign-key FILE or --sign-command"):
        read_keys(keys / CERTIFICATE)
    make_keys(tmp_path / "other", "Other")
    with pytest.raises(UserError, match=r"key\.pem: is not the key of .*certificate\.pem"):
        read_keys(keys, key=tmp_path / "other" / KEY)
    (tmp_path / "key.pem").write_text("no key")
    (tmp_path / "key.pem").chmod(0o600)
    with pytest.raises(UserError, match="is no PEM private key"):
        read_keys(keys, key=tmp_path / "key.pem")
    with pytest.raises(UserError, match="is no PEM certificate"):
        read_keys(tmp_path / "key.pem", key=keys / KEY)


def foreign(folder: Path, *, curve: bool) -> Path:
    """Keys of another authority: RSA, or on P-256 but without the profile that C2PA demands."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1()) if curve else rsa.generate_private_key(65537, 2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web server")]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=9))
    folder.mkdir()
    pem = serialization.Encoding.PEM
    (folder / CERTIFICATE).write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / KEY).write_bytes(private)
    (folder / KEY).chmod(0o600)
    return folder


def test_foreign_certificates_are_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its first certificate has no key on P-256; films are signed by ES256"):
        read_keys(foreign(tmp_path / "rsa", curve=False))
    of_server = read_keys(foreign(tmp_path / "server", curve=True))
    with pytest.raises(UserError, match=r"film\.mp4: cannot be signed \(.*certificate.*\); .*plain\.mp4 is unsigned"):
        sign(plain, tmp_path / "film.mp4", FILM, of_server)
    assert not (tmp_path / "film.mp4").exists()


TSA = """[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
[certificate]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""
OPENSSL = shutil.which("openssl")


@pytest.fixture
def time_stamps(tmp_path: Path) -> Iterator[str]:
    """The URL of an RFC 3161 server on this machine."""
    folder = tmp_path / "tsa"
    folder.mkdir()
    (folder / "tsa.conf").write_text(TSA.format(folder=folder))
    (folder / "serial").write_text("01\n")

    def openssl(*arguments: str, given: bytes = b"") -> bytes:
        assert OPENSSL
        command = [OPENSSL, *arguments]
        return subprocess.run(command, input=given, capture_output=True, check=True, cwd=folder).stdout

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    root = ("-keyout", "root.key", "-out", "root.pem", "-subj", "/O=Clock/CN=root", "-days", "9")
    openssl("req", "-x509", *curve, *root)
    openssl("req", "-new", *curve, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/O=Clock/CN=time stamps")
    extended = ("-extfile", "tsa.conf", "-extensions", "certificate", "-set_serial", "2", "-days", "9")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "root.pem", "-CAkey", "root.key", *extended, "-out", "tsa.pem")
    reply = ("ts", "-reply", "-config", "tsa.conf", "-signer", "tsa.pem", "-inkey", "key.pem", "-chain", "root.pem")

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            answer = openssl(*reply, "-queryfile", "query")
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl, whose time stamp server this asks")
def test_a_server_certifies_the_time(keys: Path, plain: Path, time_stamps: str, tmp_path: Path) -> None:
    stamped, begun = tmp_path / "film.mp4", datetime.now(UTC)
    sign(plain, stamped, FILM, read_keys(keys, tsa=time_stamps))
    found = read_manifest(stamped)
    assert found.state == "valid"
    assert timedelta(seconds=-2) < datetime.fromisoformat(found.time) - begun < timedelta(minutes=1)
    assert f"signed by Test Studio on {found.time}" in str(verify(stamped))
    sign(plain, stamped, FILM, read_keys(keys))
    assert read_manifest(stamped).time == "", "what the maker's own clock says proves nothing"


def test_a_server_that_does_not_answer_leaves_the_film_unsigned(keys: Path, plain: Path, tmp_path: Path) -> None:
    nobody = read_keys(keys, tsa="http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"film\.mp4: cannot be signed"):
        sign(plain, tmp_path / "film.mp4", FILM, nobody)
    assert not (tmp_path / "film.mp4").exists()
