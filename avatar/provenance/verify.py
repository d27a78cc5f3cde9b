"""What a file says of its making: the signed manifest, and the invisible mark where that is gone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from avatar.core.files import UserError, check_readable
from avatar.provenance.films import FoundMark, find_mark
from avatar.provenance.keys import INSTALL
from avatar.provenance.log import Entry, find
from avatar.provenance.sign import FACTS, KINDS, digest, media_type, opened, sidecar_name

State = Literal["trusted", "valid", "invalid", "none", "not read"]


@dataclass(frozen=True)
class Manifest:
    """The signed manifest of a file."""

    state: State  # trusted: by a root that is known here; valid: by another; invalid: file or signature was changed
    by: str = ""  # who signed
    why: str = ""  # what is wrong, or why it was not read
    facts: dict[str, Any] | None = None  # what it says of a film of this project
    time: str = ""  # of the signature, as a time stamp server certified it
    sidecar: str = ""  # where it lies, when that is beside the file


@dataclass(frozen=True)
class Finding:
    """What was found in a file."""

    file: str
    manifest: Manifest
    mark: FoundMark | None
    log: tuple[Entry, ...] = ()  # films made here that it is, or was made of

    def layer(self) -> str:
        """Which layer says that the file was generated: manifest, mark, both or none."""
        signed = self.manifest.state in ("trusted", "valid")
        return "both" if signed and self.mark else "manifest" if signed else "mark" if self.mark else "none"

    def to_json(self) -> dict[str, Any]:
        """Plain values; the mark's number as 8 hexadecimal digits."""
        mark = self.mark and asdict(self.mark) | {"number": f"{self.mark.number:08x}"}
        return {"file": self.file, "layer": self.layer(), "manifest": asdict(self.manifest), "mark": mark} | {
            "log": [asdict(entry) for entry in self.log]
        }

    def __str__(self) -> str:
        found, mark = self.manifest, self.mark
        said = f"manifest {found.state}" + (f", signed by {found.by}" if found.by else "")
        said += f" on {found.time}" if found.time else ""
        said += f" ({found.why})" if found.why else ""
        said += f", in {found.sidecar}" if found.sidecar else ""
        read = f"mark {mark.number:08x} at {mark.start:g} s, confidence {mark.confidence:.1f}" if mark else "no mark"
        read += f"; label {label}" if (label := (found.facts or {}).get("label", "none")) != "none" else ""
        made = "".join(f"; made here {one.made} as {one.file}" for one in self.log[:1])
        return f"{self.file}: {said}; {read}{made}"


def verify(path: Path, *, roots: str = "", logged: bool = False) -> Finding:
    """Look for manifest and mark.

    roots: PEM of certificates that are trusted; logged: whether to look it up in the user's log.
    Raises: UserError for no media file.
    """
    if not path.is_dir():
        check_readable(path, "film, picture or sound")
    manifest, mark = read_manifest(path, roots=roots), find_mark(path)
    entries = find(digest(path), f"{mark.number:08x}" if mark else "") if logged else []
    return Finding(str(path), manifest, mark, tuple(entries))


def read_manifest(path: Path, *, roots: str = "") -> Manifest:
    """The state of a file's manifest, or of the one beside it, as c2pa's reader finds it; path may be a folder."""
    store, embeds = sidecar_name(path), path.is_file() and path.suffix.lower() in KINDS
    found = _read(path, roots, None) if embeds else Manifest("none")
    if found.state == "none" and store.is_file():
        return replace(_read(path, roots, store.read_bytes()), sidecar=str(store))
    return found


def _read(path: Path, roots: str, store: bytes | None) -> Manifest:
    try:
        import c2pa
    except ImportError:
        return Manifest("not read", why=f"needs the extra 'trust': {INSTALL}")
    settings: dict[str, Any] = {"version": 1} | ({"trust": {"user_anchors": roots}} if roots else {})
    context, kind = c2pa.Context.from_dict(settings), media_type(path)
    try:
        with opened(path) as stream, c2pa.Reader(kind, stream, manifest_data=store, context=context) as reader:
            state, active = reader.get_validation_state() or "Invalid", reader.get_active_manifest() or {}
            results = reader.get_validation_results() or {}
    except c2pa.C2paError as error:
        text = " ".join(str(error).split())
        none = "ManifestNotFound" in text or "NotSupported" in text
        return Manifest("none") if none else Manifest("invalid", why=text)
    failures = [one["code"] for one in results.get("activeManifest", {}).get("failure", [])]
    facts = next((one["data"] for one in active.get("assertions", []) if one.get("label") == FACTS), None)
    signature = active.get("signature_info", {})
    by, time = signature.get("issuer", ""), signature.get("time") or ""
    if state == "Invalid":
        return Manifest("invalid", by, ", ".join(failures), facts, time)
    return Manifest("trusted" if state == "Trusted" else "valid", by, facts=facts, time=time)


def as_json(findings: list[Finding]) -> str:
    """Findings as a JSON list."""
    return json.dumps([one.to_json() for one in findings], indent=1)


def read_roots(places: list[Path]) -> str:
    """PEM files joined. Raises: UserError."""
    for place in places:
        check_readable(place, "certificate")
        if b"-----BEGIN CERTIFICATE-----" not in place.read_bytes():
            raise UserError(f"{place}: is no PEM certificate")
    return "\n".join(place.read_text() for place in places)
