"""Who agreed to an avatar, to what and until when: a record that travels in Takes and avatars, and its limits."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from avatar.core.files import UserError, check_readable, whole

if TYPE_CHECKING:  # a consent is read and written without torch
    from avatar.core.avatar_file import Avatar

NOT_STATED = "not stated"
SUFFIX = ".json"  # a consent of this ending is a file, another is a sentence that is kept as it is
MOST_BYTES = 100_000  # of a file; it is copied into every Take and avatar
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]


class Consent(BaseModel):
    """Consent of one person to an avatar of them. Lists that are empty, and dates that are left out, limit nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Consent to an avatar")

    kind: Literal["consent", "self", "synthetic"] = Field(
        "consent", description="Of somebody else, of the maker themselves, or of nobody: a person who does not exist."
    )
    subject: Name = Field(description="Whose likeness and voice it is.")
    attested_by: Name = Field(description="Who vouches that the subject agreed.")
    date: datetime.date | None = Field(None, description="When the subject agreed, YYYY-MM-DD.")
    uses: tuple[Name, ...] = Field((), description="What the avatar may be used for, such as 'training films'.")
    territories: tuple[Name, ...] = Field((), description="Where what it says may be published.")
    languages: tuple[Name, ...] = Field((), description="What it may speak, as language tags such as 'en' or 'pt-BR'.")
    expires: datetime.date | None = Field(None, description="The last day on which films may be made, YYYY-MM-DD.")
    revocation_contact: Name | None = Field(None, description="Where the subject takes the consent back.")
    source_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="SHA-256 of the clip agreed to.")
    consent_clip_sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="SHA-256 of a clip in which the subject says that they agree."
    )

    @model_validator(mode="after")
    def _complete(self) -> Consent:
        if self.kind == "consent" and not (self.date and self.revocation_contact):
            raise ValueError("a consent needs 'date' and 'revocation_contact'")
        if self.date and self.expires and self.expires < self.date:
            raise ValueError(f"it expires on {self.expires}, before it was given on {self.date}")
        return self

    def text(self) -> str:
        """The record on one line, as Takes and avatars keep it."""
        return self.model_dump_json(exclude_defaults=True)

    def describe(self) -> str:
        """Whose consent it is, in a few words."""
        if self.kind == "synthetic":
            return "a synthetic person"
        given = f" of {self.date}" if self.date else ""
        return f"{self.subject} of themselves{given}" if self.kind == "self" else f"consent of {self.subject}{given}"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a consent file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Consent.model_json_schema()


def read_consent(path: Path) -> Consent:
    """A consent file. Raises: UserError that names the field."""
    check_readable(path, "consent file")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: is larger than {MOST_BYTES} bytes; a consent file holds names and dates only")
    try:
        return Consent.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {field + ': ' if field else ''}{message}; `avatar consent schema`") from error


def state(consent: str = NOT_STATED, *, own: str | None = None, synthetic: bool = False) -> str:
    """The text that a Take keeps: of a consent file, of a sentence, of one's own likeness or a synthetic person.

    Raises: UserError for more than one of them, and for a file that is no consent.
    """
    if (consent != NOT_STATED) + (own is not None) + synthetic > 1:
        raise UserError("--consent, --self and --synthetic exclude each other; give one")
    if own is not None:
        if not own.strip():
            raise UserError("--self: is empty; give your name")
        return Consent(kind="self", subject=own, attested_by=own).text()
    if synthetic:
        return Consent(kind="synthetic", subject="nobody", attested_by="the maker of the clip").text()
    return read_consent(Path(consent)).text() if consent.endswith(SUFFIX) else consent


def parse_text(text: str) -> Consent | None:
    """The record in what a Take or an avatar keeps; None for a sentence, and where nothing was stated."""
    try:
        return Consent.model_validate_json(text) if text.startswith("{") else None
    except ValidationError:
        return None


def describe(text: str) -> str:
    """What a Take or an avatar keeps, in a few words."""
    record = parse_text(text)
    return record.describe() if record else text


def check_source(text: str, sha256: str, name: str) -> None:
    """Raise UserError when a consent names another clip than the one of this SHA-256."""
    record = parse_text(text)
    if record and record.source_sha256 and sha256 and record.source_sha256 != sha256:
        raise UserError(f"{name}: is not the clip that the consent was given for (its source_sha256 differs)")


def avatar_id(avatar: Avatar) -> str:
    """What names an avatar, 16 hexadecimal digits: the start of a SHA-256 over all that draws it.

    It stays when the file is renamed, or gets another consent.
    """
    found = hashlib.sha256(avatar.kind.encode())
    for name in sorted(avatar.renderer):
        tensor = avatar.renderer[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.flatten().view(-1).numpy().tobytes())
    return found.hexdigest()[:16]


def public_facts(avatar: Avatar) -> dict[str, str]:
    """What may be said to everybody of where an avatar is from: its id and digests, no names."""
    consent = avatar.provenance.get("consent", NOT_STATED)
    return {
        "avatar": avatar_id(avatar),
        "source_sha256": avatar.provenance.get("sha256", ""),
        "recipe_sha256": hashlib.sha256(avatar.recipe.encode()).hexdigest(),
        "consent_sha256": "" if consent == NOT_STATED else hashlib.sha256(consent.encode()).hexdigest(),
    }


def read_revoked(path: Path) -> frozenset[str]:
    """The avatar ids of a revocation list: one a line; what follows a # is a note. Raises: UserError."""
    check_readable(path, "revocation list")
    ids = set()
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not (entry := line.partition("#")[0].strip()):
            continue
        if len(entry) != 16 or not set(entry) <= set("0123456789abcdef"):
            raise UserError(f"{path}: line {number}: '{entry[:40]}' is no avatar id; `avatar consent show` prints it")
        ids.add(entry)
    return frozenset(ids)


def check_permission(
    avatar: Avatar,
    name: str,
    *,
    use: str | None = None,
    revoked: Collection[str] = (),
    today: datetime.date | None = None,
) -> None:
    """Raise UserError when an avatar's consent was revoked, is over, is of a later day, or excludes a use.

    name: what the avatar is called in errors; use: what is to be made; revoked: ids of avatars.
    """
    today, record = today or datetime.date.today(), parse_text(avatar.provenance.get("consent", NOT_STATED))
    if revoked and avatar_id(avatar) in revoked:
        raise UserError(f"{name}: its consent was revoked (avatar {avatar_id(avatar)}); it may not be used any more")
    if record is None:
        return
    if record.expires and today > record.expires:
        raise UserError(f"{name}: the {record.describe()} expired on {record.expires}; ask for a new one")
    if record.date and today < record.date:
        raise UserError(f"{name}: the {record.describe()} is of a later day than today, {today}; set the clock")
    allowed = [one.casefold() for one in record.uses]
    if use is not None and allowed and use.strip().casefold() not in allowed:
        raise UserError(f"{name}: the {record.describe()} excludes '{use}'; it allows {', '.join(record.uses)}")


def with_consent(avatar: Avatar, record: Consent, name: str) -> Avatar:
    """An avatar with a consent in the place of none, of a sentence, or of an earlier one of the same subject.

    Raises: UserError where the consent is another person's, or for another clip.
    """
    earlier = parse_text(avatar.provenance.get("consent", NOT_STATED))
    if earlier and earlier.subject != record.subject:
        raise UserError(f"{name}: holds the {earlier.describe()}; a consent of {record.subject} cannot replace it")
    check_source(record.text(), avatar.provenance.get("sha256", ""), name)
    return replace(avatar, provenance=avatar.provenance | {"consent": record.text()})


def add_revoked(path: Path, entry: str, reason: str = "") -> bool:
    """Add an avatar id to a revocation list, which is made where there is none; False when it stands there already."""
    before = path.read_text(errors="replace") if path.exists() else ""
    if before and entry in read_revoked(path):
        return False
    note = f"  # {' '.join(reason.split())}" if reason.strip() else ""
    with whole(path) as temporary:
        temporary.write_text(f"{before}{'' if before.endswith(chr(10)) or not before else chr(10)}{entry}{note}\n")
    return True
