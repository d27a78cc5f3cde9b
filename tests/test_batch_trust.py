"""Batch jobs keep to consents, say in the report what is not signed, and send manifests along."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.batch import storage, work
from avatar.batch.jobs import Job, Need
from avatar.core.avatar_file import load_avatar, save_avatar
from avatar.core.consent import Consent, avatar_id
from avatar.core.files import UserError
from avatar.core.media import write_wav
from avatar.core.progress import no_progress
from avatar.pipelines.options import Verb
from avatar.pipelines.verbs import VERBS
from avatar.provenance.sign import sidecar_name
from tests.conftest import Filmed
from tests.test_consent import GIVEN


@pytest.fixture
def studio(avatar_file: Path, tmp_path: Path) -> Path:
    """A folder with an avatar whose consent allows training films and news, and a speech."""
    loaded, record = load_avatar(avatar_file), Consent.model_validate(GIVEN | {"expires": None, "source_sha256": None})
    consented = replace(loaded, provenance=loaded.provenance | {"consent": record.text()})
    save_avatar(consented, tmp_path / "ada.avatar")
    write_wav(tmp_path / "one.wav", 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0)))
    (tmp_path / "revoked.txt").write_text(avatar_id(loaded))
    return tmp_path


@pytest.mark.parametrize("verb", ["speak", "motion", "render"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [({"use": "advertising"}, "excludes 'advertising'; it allows"), ({"revoked": "revoked.txt"}, "was revoked")],
)
def test_jobs_out_of_the_consent_are_refused(
    verb: Verb, asked: dict[str, str], message: str, studio: Path, actor: Filmed
) -> None:
    out = studio / ("out.motion" if verb == "motion" else "out.mp4")
    source = {"take": str(actor.take.root)} if verb == "render" else {"speech": str(studio / "one.wav")}
    asked = {name: str(studio / value) if name == "revoked" else value for name, value in asked.items()}
    values = {"avatar": str(studio / "ada.avatar"), "output": str(out), **source, **asked}
    with pytest.raises(UserError, match=message):
        work.RUN[verb](VERBS[verb].model_validate(values), False, no_progress)
    assert not out.exists()


def test_the_report_says_what_is_not_signed_and_what_is_refused(studio: Path) -> None:
    job = {"kind": "speak", "avatar": "ada.avatar", "speech": "one.wav", "size": 64, "quality": "draft"}
    jobs = [job | {"output": "a.mp4", "unsigned": True}, job | {"output": "b.mp4", "use": "advertising"}]
    (studio / "jobs.yaml").write_text(json.dumps({"jobs": jobs}))
    command = [sys.executable, "-m", "avatar.cli", "batch", str(studio / "jobs.yaml")]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 1
    page = (studio / "jobs.batch" / "batch.html").read_text()
    assert "a.mp4: is not signed: --unsigned" in page
    assert "excludes &#x27;advertising&#x27;" in page
    assert (studio / "a.mp4").exists()
    assert not (studio / "b.mp4").exists()


def test_a_manifest_goes_where_its_film_goes(tmp_path: Path) -> None:
    place = f"memory://{tmp_path.name}/films/o.webm"
    job = Job("o.webm", "speak", 1, "", {}, {"output": place}, {}, Need(), 60.0)
    with work.local_copies(job) as values:
        Path(values["output"]).write_bytes(b"film")
        sidecar_name(Path(values["output"])).write_bytes(b"manifest")
    assert storage.fetch(place, tmp_path).read_bytes() == b"film"
    assert storage.fetch(f"{place}.c2pa", tmp_path).read_bytes() == b"manifest"
