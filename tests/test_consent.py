"""Consent: the file and its schema, what a Take and an avatar keep of it, and what it excludes."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from avatar.cli import app
from avatar.core.avatar_file import Avatar, load_avatar, save_avatar
from avatar.core.consent import (
    NOT_STATED,
    Consent,
    add_revoked,
    avatar_id,
    check_permission,
    parse_text,
    read_consent,
    read_revoked,
    schema,
    state,
    with_consent,
)
from avatar.core.files import UserError
from preprocess.request import state_consent
from tests.recorded import invoke
from tests.test_take_request import take_of_format_1

ROOT = Path(__file__).parent.parent
TODAY = datetime.date(2026, 7, 1)
GIVEN: dict[str, Any] = {
    "subject": "Ada Lovelace",
    "attested_by": "Analytical Films Ltd",
    "date": "2026-03-01",
    "uses": ["training films", "news"],
    "territories": ["GB"],
    "languages": ["en"],
    "expires": "2026-12-31",
    "revocation_contact": "mailto:ada@example.org",
    "source_sha256": "ab" * 32,
}


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({name: value for name, value in (GIVEN | changes).items() if value is not None}))
    return path


def test_a_file_is_read_and_kept_as_one_line(tmp_path: Path) -> None:
    text = state(str(write(tmp_path / "ada.json")))
    assert "\n" not in text
    assert json.loads(text) == GIVEN
    assert parse_text(text) == read_consent(tmp_path / "ada.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expiry": "2027-01-01"}, "expiry: Extra inputs are not permitted"),
        ({"expires": "2026-02-28"}, "it expires on 2026-02-28, before it was given on 2026-03-01"),
        ({"date": "yesterday"}, "date: Input should be a valid date"),
        ({"date": None}, "a consent needs 'date' and 'revocation_contact'"),
        ({"subject": "  "}, "subject: String should have at least 1 character"),
        ({"source_sha256": "12"}, "source_sha256: String should match pattern"),
        ({"uses": "news"}, "uses: Input should be a valid"),
    ],
)
def test_a_bad_file_is_refused_in_a_line_and_by_the_schema(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    place = write(tmp_path / "ada.json", **changes)
    with pytest.raises(UserError, match=message) as found:
        state(str(place))
    assert "\n" not in str(found.value)
    assert str(place) in str(found.value)
    if "date" not in changes and "expires" not in changes:  # what a schema cannot compare
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                json.loads(place.read_text()) | {"subject": changes.get("subject", "").strip()}, schema()
            )


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"subject": 1}', "\x00\xff"])
def test_what_is_no_consent_is_refused_in_a_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "ada.json").write_text(content)
    with pytest.raises(UserError, match=r"ada\.json: ") as found:
        state(str(tmp_path / "ada.json"))
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match="consent file"):
        state(str(tmp_path / "missing.json"))


def test_the_published_schema_is_that_of_the_code() -> None:
    published = (ROOT / "docs" / "consent.schema.json").read_text()
    assert published == invoke("consent", "schema"), "run: avatar consent schema > docs/consent.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))
    jsonschema.validate(GIVEN, json.loads(published))


def test_statements_exclude_each_other() -> None:
    assert state("signed, folder 3") == "signed, folder 3"
    assert state() == NOT_STATED
    own = parse_text(state(own="Ada Lovelace"))
    assert own == Consent(kind="self", subject="Ada Lovelace", attested_by="Ada Lovelace")
    assert state(own="Ada Lovelace") == state(own="Ada Lovelace"), "the same on another day"
    synthetic = parse_text(state(synthetic=True))
    assert synthetic is not None
    assert synthetic.kind == "synthetic"
    with pytest.raises(UserError, match="exclude each other"):
        state("signed", synthetic=True)
    with pytest.raises(UserError, match="--self: is empty"):
        state(own=" ")


def test_a_take_is_of_the_clip_that_was_agreed_to(tmp_path: Path) -> None:
    text = state(str(write(tmp_path / "ada.json")))
    take = take_of_format_1(tmp_path / "x.take")
    with pytest.raises(UserError, match=r"x\.take: is not the clip that the consent was given for"):
        state_consent(take, text)
    fitting = replace(take, source=take.source | {"sha256": "ab" * 32})
    assert state_consent(fitting, text).source["consent"] == text


@pytest.fixture
def consented(loaded: Avatar) -> Avatar:
    return replace(loaded, provenance=loaded.provenance | {"consent": Consent.model_validate(GIVEN).text()})


@pytest.fixture(scope="module")
def loaded(avatar_file: Path) -> Avatar:
    return load_avatar(avatar_file)


def test_an_avatar_is_refused_out_of_its_consent(consented: Avatar) -> None:
    check_permission(consented, "a", today=TODAY)
    check_permission(consented, "a", use="News ", today=TODAY)
    check_permission(consented, "a", today=datetime.date(2026, 12, 31))
    with pytest.raises(UserError, match="a: the consent of Ada Lovelace of 2026-03-01 excludes 'advertising'"):
        check_permission(consented, "a", use="advertising", today=TODAY)
    with pytest.raises(UserError, match="expired on 2026-12-31; ask for a new one"):
        check_permission(consented, "a", today=datetime.date(2027, 1, 1))
    with pytest.raises(UserError, match="of a later day than today, 2025-01-01; set the clock"):
        check_permission(consented, "a", today=datetime.date(2025, 1, 1))
    with pytest.raises(UserError, match="its consent was revoked"):
        check_permission(consented, "a", revoked={avatar_id(consented)}, today=TODAY)
    check_permission(consented, "a", revoked={"0" * 16}, today=TODAY)


def test_sentences_limit_nothing_but_can_be_revoked(loaded: Avatar) -> None:
    check_permission(loaded, "a", use="anything")
    with pytest.raises(UserError, match="revoked"):
        check_permission(loaded, "a", revoked={avatar_id(loaded)})


def test_an_id_is_of_what_draws(loaded: Avatar, consented: Avatar, tmp_path: Path) -> None:
    save_avatar(consented, tmp_path / "other name.avatar")
    assert avatar_id(load_avatar(tmp_path / "other name.avatar")) == avatar_id(loaded)
    name, tensor = next((name, tensor) for name, tensor in loaded.renderer.items() if tensor.numel())
    changed = replace(loaded, renderer=loaded.renderer | {name: tensor.clone().fill_(1)})
    assert avatar_id(changed) != avatar_id(loaded)


def test_a_later_consent_of_the_same_person_takes_the_place(consented: Avatar) -> None:
    later = Consent.model_validate(GIVEN | {"expires": "2028-01-01", "source_sha256": None})
    assert with_consent(consented, later, "a").provenance["consent"] == later.text()
    other = Consent.model_validate(GIVEN | {"subject": "Grace Hopper"})
    with pytest.raises(UserError, match="holds the consent of Ada Lovelace"):
        with_consent(consented, other, "a")


def test_revocation_lists(tmp_path: Path) -> None:
    place = tmp_path / "revoked.txt"
    place.write_text("# of the studio\n" + "0" * 16 + "  # by mail")
    assert add_revoked(place, "1" * 16, "by\nphone")
    assert not add_revoked(place, "1" * 16)
    assert read_revoked(place) == {"0" * 16, "1" * 16}
    assert add_revoked(tmp_path / "new.txt", "2" * 16)
    assert read_revoked(tmp_path / "new.txt") == {"2" * 16}
    place.write_text("ada\n")
    with pytest.raises(UserError, match="line 1: 'ada' is no avatar id"):
        read_revoked(place)


def test_commands_show_add_revoke_and_refuse(loaded: Avatar, tmp_path: Path) -> None:
    place, listed, wav = tmp_path / "me.avatar", tmp_path / "revoked.txt", tmp_path / "x.wav"
    save_avatar(loaded, place)
    assert avatar_id(loaded) in invoke("consent", "show", place)
    for expires, code in (("2999-01-01", 0), ("2026-03-02", 1)):
        consent = write(tmp_path / "ada.json", expires=expires, source_sha256=None)
        invoke("consent", "add", place, consent)
        shown = invoke("consent", "show", place)
        assert f"expires              {expires}" in shown
        assert "training films, news" in shown
        result = CliRunner().invoke(app, ["motion", str(place), str(wav), "-o", str(tmp_path / "x.motion")])
        assert ("expired on" in str(result.exception)) == bool(code), "checked before the speech is opened"
    invoke("consent", "add", place, write(tmp_path / "ada.json", expires=None, source_sha256=None))
    invoke("consent", "revoke", place, "--list", listed, "--reason", "by mail")
    command = ["speak", str(place), str(wav), "-o", str(tmp_path / "x.mp4"), "--revoked", str(listed)]
    assert "its consent was revoked" in str(CliRunner().invoke(app, command).exception)
    assert "excludes 'advertising'" in str(CliRunner().invoke(app, [*command[:5], "--use", "advertising"]).exception)
