"""The log of films made by this user, so that a studio can answer: did we make this?"""

from __future__ import annotations

import datetime
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from avatar.core.files import UserError, check_writable
from avatar.provenance.keys import config_folder

SWITCH = "AVATAR_LOG"  # of the environment; `off`: nothing is written
BUSY_SECONDS = 10.0  # that one process waits for others that write


@dataclass(frozen=True)
class Entry:
    """A film that was made."""

    sha256: str  # of the file as it was written
    mark: str  # 8 hexadecimal digits
    avatar: str  # its id
    file: str  # where it was written
    made: str  # UTC, ISO 8601
    note: str = ""


def log_file() -> Path:
    """Where the log is."""
    return config_folder() / "films.sqlite"


def is_on() -> bool:
    """Whether films are logged."""
    return os.environ.get(SWITCH, "on") != "off"


def add(entry: Entry) -> None:
    """Write a film into the log. Raises: UserError when that is not possible."""
    check_writable(log_file())
    with _opened() as base:
        base.execute(f"INSERT INTO films VALUES ({', '.join('?' * len(fields(Entry)))})", astuple(entry))


def now() -> str:
    """The time as entries have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def entries(last: int) -> list[Entry]:
    """The last films, the newest first."""
    return _select("ORDER BY rowid DESC LIMIT ?", (last,))


def find(sha256: str, mark: str = "") -> list[Entry]:
    """Films of a digest, or of a mark where that is given; the newest first."""
    return _select("WHERE sha256 = ? OR (mark = ? AND mark != '') ORDER BY rowid DESC", (sha256, mark))


def set_note(mark: str, note: str) -> int:
    """Write a note beside the films of a mark; returns how many there are."""
    if not log_file().exists():
        return 0
    with _opened() as base:
        return base.execute("UPDATE films SET note = ? WHERE mark = ?", (note, mark)).rowcount


def forget(folder: str) -> int:
    """Take the films of a folder out of the log, past recovery; returns how many there were."""
    if not log_file().exists():
        return 0
    inside = folder.rstrip("/") + "/"
    with _opened() as base:
        base.execute("PRAGMA secure_delete=ON")
        return base.execute("DELETE FROM films WHERE substr(file, 1, ?) = ?", (len(inside), inside)).rowcount


def _select(clause: str, values: tuple[str | int, ...]) -> list[Entry]:
    if not log_file().exists():
        return []
    names = ", ".join(field.name for field in fields(Entry))
    with _opened() as base:
        return [Entry(*row) for row in base.execute(f"SELECT {names} FROM films {clause}", values)]


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """The log, whose changes are written at the end. Raises: UserError when it is no log, or cannot be used."""
    columns = ", ".join(f"{field.name} TEXT NOT NULL" for field in fields(Entry))
    try:
        with closing(sqlite3.connect(log_file(), timeout=BUSY_SECONDS)) as base, base:
            base.execute(f"CREATE TABLE IF NOT EXISTS films ({columns})")
            yield base
    except sqlite3.Error as error:
        raise UserError(f"{log_file()}: cannot be used ({error}); move it away, or set {SWITCH}=off") from error
