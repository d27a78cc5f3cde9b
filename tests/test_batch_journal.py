"""The journal of a batch: read forward, converted whole or not at all, read while another process makes it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from avatar.batch import journal
from avatar.batch.journal import Journal
from avatar.core.files import UserError
from avatar.core.versions import Format

DATA = Path(__file__).parent / "data"


def test_a_journal_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was run yet"):
        Journal(tmp_path, make=False)
    (tmp_path / "journal.sqlite").write_text("not a database, but long enough to be looked at" * 10)
    with pytest.raises(UserError, match="cannot be used"):
        Journal(tmp_path)


@pytest.fixture
def journal_1(tmp_path: Path) -> Path:
    """A folder with a journal of format 1: a film that is done, one that failed."""
    shutil.copy(DATA / "format_1.sqlite", tmp_path / "journal.sqlite")
    return tmp_path


def user_version(folder: Path) -> int:
    db = sqlite3.connect(folder / "journal.sqlite")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return version


def test_a_journal_of_format_1_is_read(journal_1: Path) -> None:
    assert user_version(journal_1) == journal.FORMAT.version == 1
    read = Journal(journal_1, make=False)
    one, two = read.read()
    assert (one.id, one.state, one.address, one.media_seconds) == ("films/one.mp4", "done", "a1", 5.0)
    assert one.outputs == {"/s/films/one.mp4": ["10 20", "d1"]}
    assert (two.state, two.reason, two.tries) == ("failed", "two.wav: has no sound", 1)
    assert read.digest("/s/anna.avatar", "1 2") == "d0"
    assert (run := read.last_run())
    assert (run.engine, run.started, run.finished) == ("local", 1.7e9, 1.7e9 + 3)
    read.close()


def test_journals_are_read_forward(journal_1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_column(db: sqlite3.Connection) -> sqlite3.Connection:
        db.execute("ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 7")
        return db

    newer = Format("journal", 3, "9.9.0", "move it away", {1: add_column, 2: lambda db: db})
    with monkeypatch.context() as patch:
        patch.setattr(journal, "FORMAT", newer)
        read = Journal(journal_1, make=False)
        assert [record.id for record in read.read()] == ["films/one.mp4", "films/two.mp4"]
        assert read._db.execute("SELECT DISTINCT priority FROM jobs").fetchall() == [(7,)]
        read.close()
        Journal(journal_1, make=False).close()  # is converted once only
    with pytest.raises(UserError, match=r"format journal/3, .*reads up to journal/1; avatar-builder 9\.9\.0 and later"):
        Journal(journal_1, make=False)
    monkeypatch.setattr(journal, "FORMAT", Format("journal", 5, "9.9.0", "move it away", {4: lambda db: db}))
    with pytest.raises(UserError, match="journal/3, which cannot be converted to journal/5; move it away"):
        Journal(journal_1, make=False)
    assert user_version(journal_1) == 3, "what cannot be read is left as it is"


def test_a_journal_can_be_read_while_it_is_made(tmp_path: Path) -> None:
    errors: list[str] = []
    for index in range(60):
        folder, made = tmp_path / str(index), threading.Event()
        folder.mkdir()

        def read(folder: Path = folder, made: threading.Event = made) -> None:
            while not made.is_set():
                try:
                    reader = Journal(folder, make=False)
                    list(reader.read())
                    reader.close()
                except UserError as error:
                    errors.append(str(error).removeprefix(str(folder)))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            writer = Journal(folder)
            writer.begin([], Path("jobs.yaml"), "local")
            writer.close()
        finally:
            made.set()
            reader.join()
    assert all("nothing was run yet" in error for error in errors), set(errors)


def test_a_conversion_that_fails_changes_nothing(journal_1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(db: sqlite3.Connection) -> sqlite3.Connection:
        db.execute("DELETE FROM jobs")
        raise sqlite3.DatabaseError("disk image is malformed")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "FORMAT", Format("journal", 2, "9.9.0", "move it away", {1: fail}))
        with pytest.raises(UserError, match="cannot be used"):
            Journal(journal_1, make=False)
    assert len(list(Journal(journal_1, make=False).read())) == 2
