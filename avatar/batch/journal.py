"""What is done, on disk: one SQLite file, written by the one process that runs the batch, read by any other."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from avatar.core.files import PROCESS, UserError, check_writable, hold
from avatar.core.versions import Format, check_version, convert

if TYPE_CHECKING:
    from avatar.batch.jobs import Job, Kind

State = Literal["waiting", "running", "done", "failed", "quarantined", "blocked", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
CUT_SHORT = "was cut short"
LOCK_SECONDS = 5.0  # for which an operation waits while another process holds the database
PASSING = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL,  # another process holds it
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM,  # its disk is away
)  # fmt: skip
BAD: tuple[State, ...] = ("failed", "quarantined", "blocked", "cancelled")

TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, place INTEGER NOT NULL, entry TEXT NOT NULL, run INTEGER NOT NULL,
    output TEXT NOT NULL, state TEXT NOT NULL, address TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
    made TEXT NOT NULL DEFAULT '{}', tries INTEGER NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0, cpu_seconds REAL NOT NULL DEFAULT 0, gpu_seconds REAL NOT NULL DEFAULT 0,
    media_seconds REAL NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS jobs_of_run ON jobs (run, state);
CREATE TABLE IF NOT EXISTS runs (number INTEGER PRIMARY KEY, job_file TEXT, engine TEXT, started REAL, finished REAL);
CREATE TABLE IF NOT EXISTS digests (place TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cancels (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS format (reader TEXT);
"""
"""Of this version of the format. `format` names the first version of the package that reads the journal."""
FORMAT = Format("journal", 1, "0.2.0", "move it away and run again", {})
"""Its version is SQLite's `user_version`. A conversion changes an open database and returns it."""


@dataclass(frozen=True)
class Record:
    """What is known of a job."""

    id: str
    kind: Kind
    output: str
    state: State
    address: str = ""  # of its inputs, settings and version, when it was last done or failed
    reason: str = ""  # one line
    made: str = "{}"  # JSON: output -> [fingerprint, digest]
    tries: int = 0  # crashes of its worker
    finished: float = 0.0  # seconds since 1970
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    media_seconds: float = 0.0  # length of what was made
    bytes: int = 0
    worker: str = ""

    @property
    def outputs(self) -> dict[str, list[str]]:
        """Fingerprint and digest of each output, as it was made."""
        return dict(json.loads(self.made))


COLUMNS = tuple(field.name for field in fields(Record))
CHANGED = tuple(name for name in COLUMNS if name not in ("id", "kind", "output"))


@dataclass(frozen=True)
class RunRecord:
    """One run of a batch."""

    number: int
    job_file: str
    engine: str
    started: float
    finished: float | None  # None: still running, or killed


def is_passing(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes of, is a failure of the journal that may pass by itself."""
    while error is not None:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in PASSING:
            return True
        error = error.__cause__ or error.__context__
    return False


class Journal:
    """The journal of a batch in a folder. Every change is on disk when its method returns."""

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Open, or make. Raises: UserError when there is none, or one that is damaged or of a version not read."""
        self.path = folder / "journal.sqlite"
        if make:
            check_writable(self.path)
        elif not self.path.is_file():
            raise UserError(f"{folder}: holds no journal; nothing was run yet")
        try:
            self._db = sqlite3.connect(self.path, timeout=LOCK_SECONDS, isolation_level=None)
            self._prepare(make)
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path}: cannot be used ({error}); move it away and run again") from error

    def _prepare(self, make: bool) -> None:
        """Make the tables, or bring those of an earlier version to this one. Raises: UserError, DatabaseError."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                if make:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.execute("PRAGMA synchronous=NORMAL")  # safe against kills, as it is in WAL mode
                return self._convert(make)
            except sqlite3.OperationalError as error:  # while another process makes it, SQLite does not wait by itself
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _convert(self, make: bool) -> None:
        if self._version() == FORMAT.version:
            return
        with self._transaction():
            version = self._version()  # another process may have converted it since
            check_version(FORMAT, version or FORMAT.version, self.path, reader=self._reader())
            if version == FORMAT.version:
                return
            if version == 0 and not make:
                raise UserError(f"{self.path.parent}: holds no journal yet; nothing was run yet")
            if version:
                convert(FORMAT, version, self._db)
            for statement in TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("DELETE FROM format")
            self._db.execute("INSERT INTO format VALUES (?)", (FORMAT.since,))
            self._db.execute(f"PRAGMA user_version={FORMAT.version}")

    def _version(self) -> int:
        """0 for a new file."""
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _reader(self) -> str:
        """The version of the package that reads the journal, as it names it itself; empty where it does not."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name='format'").fetchone():
            return ""
        row = self._db.execute("SELECT reader FROM format").fetchone()
        return str(row[0]) if row else ""

    def close(self) -> None:
        self._db.close()

    def begin(self, jobs: Iterable[Job], job_file: Path, engine: str) -> int:
        """Note a run of these jobs; what a killed run left as running waits again. Returns the run's number."""
        db = self._db
        with self._transaction():
            row = (str(job_file), engine, time.time())
            number = db.execute("INSERT INTO runs (job_file, engine, started) VALUES (?, ?, ?)", row).lastrowid or 0
            db.executemany(
                "INSERT INTO jobs (id, kind, place, entry, run, output, state) VALUES (?, ?, ?, ?, ?, ?, 'waiting') "
                "ON CONFLICT (id) DO UPDATE SET kind=excluded.kind, place=excluded.place, entry=excluded.entry, "
                "run=excluded.run, output=excluded.output",
                ((job.id, job.kind, at, job.entry, number, job.outputs["output"]) for at, job in enumerate(jobs)),
            )
            db.execute("UPDATE jobs SET state='waiting', reason=? WHERE state='running'", (CUT_SHORT,))
            db.execute("UPDATE jobs SET state='waiting', reason='' WHERE state IN ('blocked', 'cancelled')")
            db.execute("DELETE FROM cancels")
        return number

    def end(self, number: int) -> None:
        """Note that a run is over."""
        self._db.execute("UPDATE runs SET finished=? WHERE number=?", (time.time(), number))

    def write(self, records: Iterable[Record]) -> None:
        """Set what is known of jobs, all of them or none."""
        columns = ", ".join(f"{name}=?" for name in CHANGED)
        rows = [[*(getattr(record, name) for name in CHANGED), record.id] for record in records]
        with self._transaction():
            self._db.executemany(f"UPDATE jobs SET {columns} WHERE id=?", rows)

    def read(self) -> Iterator[Record]:
        """The jobs of the last run, in the order of the job file."""
        query = f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE run=(SELECT max(number) FROM runs) ORDER BY place"
        for row in self._db.execute(query):
            yield Record(*row)

    def find(self, job: str) -> Record | None:
        """What is known of a job, of any run; None where there was none of this id."""
        row = self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE id=?", (job,)).fetchone()
        return Record(*row) if row else None

    def forget(self, folder: str) -> None:
        """Forget the jobs whose output lies in a folder or is that file, and its digests, past recovery.

        Raises: UserError when another process holds the journal.
        """
        inside = folder.rstrip("/") + "/"
        try:
            self._db.execute("PRAGMA secure_delete=ON")
            with self._transaction():
                for table, column in (("jobs", "output"), ("digests", "place")):
                    clause = f"{column}=? OR substr({column}, 1, ?)=?"
                    self._db.execute(f"DELETE FROM {table} WHERE {clause}", (folder, len(inside), inside))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            raise UserError(f"{self.path}: cannot be written now ({error}); try again") from error

    def last_run(self) -> RunRecord | None:
        """The run that began last."""
        row = self._db.execute("SELECT * FROM runs ORDER BY number DESC LIMIT 1").fetchone()
        return RunRecord(*row) if row else None

    def digest(self, place: str, fingerprint: str) -> str:
        """The digest of a file that had this fingerprint when it was computed; empty when it is not known."""
        query = "SELECT digest FROM digests WHERE place=? AND fingerprint=?"
        row = self._db.execute(query, (place, fingerprint)).fetchone()
        return row[0] if row else ""

    def keep_digest(self, place: str, fingerprint: str, digest: str) -> None:
        """Keep a digest."""
        self._db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (place, fingerprint, digest))

    def request_cancel(self, names: Iterable[str]) -> None:
        """Request that the process that runs the batch leaves out jobs or entries; `*` for all.

        Raises: UserError when another process holds the journal.
        """
        try:
            with self._transaction():
                self._db.executemany("INSERT OR IGNORE INTO cancels VALUES (?)", [(name,) for name in names])
        except sqlite3.OperationalError as error:
            raise UserError(f"{self.path}: cannot be written now ({error}); try again") from error

    def known(self, name: str) -> bool:
        """Whether a job or an entry of the last run has this name."""
        query = "SELECT 1 FROM jobs WHERE (id=? OR entry=?) AND run=(SELECT max(number) FROM runs) LIMIT 1"
        return self._db.execute(query, (name, name)).fetchone() is not None

    def take_cancels(self) -> set[str]:
        """Jobs and entries to be left out, requested since the last call."""
        names = {row[0] for row in self._db.execute("SELECT name FROM cancels")}
        if names:
            self._db.execute("DELETE FROM cancels")
        return names

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise


def state_folder(job_file: Path) -> Path:
    """Where the journal, the logs and the report of a job file are by default."""
    return job_file.with_name(f"{job_file.stem}.batch")


def log_path(folder: Path, job: str) -> Path:
    """Where the log of a job of a batch's folder is: named as the job, as far as files can be."""
    short = re.sub(r"[^\w.-]+", "_", job).strip("_")[-80:]
    return folder / "logs" / f"{short}.{hashlib.sha256(job.encode()).hexdigest()[:8]}.log"


@contextmanager
def sole_runner(folder: Path) -> Iterator[None]:
    """Hold a batch for this process. Raises: UserError when another one runs it."""
    with hold(folder / "lock", f"{folder}: is being run by process {PROCESS}; wait, or cancel it"):
        yield


def is_running(folder: Path) -> bool:
    """Whether a process runs the batch of a folder."""
    path = folder / "lock"
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
