"""Runs on the local engine with workers that run commands: done stays done, failures are reported, others go on."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from avatar.batch import journal as journal_module
from avatar.batch import run as run_module
from avatar.batch.attempt import Outcome
from avatar.batch.engine import Running
from avatar.batch.jobs import Job
from avatar.batch.journal import Journal, Record, is_running, log_path
from avatar.batch.local import LocalEngine
from avatar.batch.machine import Machine, this_machine
from avatar.batch.plan import Plan, make_plan
from avatar.batch.report import write_report
from avatar.batch.run import Snapshot
from avatar.cli.batch_table import draw_table, format_seconds
from avatar.core.files import UserError
from avatar.core.media import write_wav
from tests.batch_worker import HERE, WORKER, go


def studio(folder: Path, **speeches: str) -> Path:
    """A job file with a film for each speech."""
    (folder / "a.avatar").write_text("a")
    for name, text in speeches.items():
        (folder / f"{name}.txt").write_text(text)
    jobs = [
        {"kind": "speak", "avatar": "a.avatar", "speech": f"{name}.txt", "output": f"{name}.mp4", "id": name}
        for name in speeches
    ]
    (folder / "jobs.yaml").write_text(json.dumps({"jobs": jobs}))
    return folder / "jobs.yaml"


def plan_of(file: Path) -> Plan:
    plan, problems = make_plan(file)
    assert not problems
    return plan


def records(file: Path) -> dict[str, Record]:
    journal = Journal(file.with_suffix(".batch"), make=False)
    found = {record.id: record for record in journal.read()}
    journal.close()
    return found


def state_of(file: Path, job: str) -> str:
    """A job's state while a run may be about to make its journal; empty as long as there is none."""
    try:
        return records(file)[job].state
    except (UserError, KeyError):
        return ""


def counts(file: Path, name: str) -> int:
    """How many times a speech with `count` in it was spoken."""
    path = file.parent / f"{name}.count"
    return len(path.read_text()) if path.exists() else 0


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".part" in path.name]


def test_done_and_unchanged_is_skipped(tmp_path: Path) -> None:
    file = studio(tmp_path, one="count\nhello", two="count\nworld")
    first = go(file)
    assert (first.counts["done"], first.counts["unchanged"], first.bad) == (2, 0, 0)
    assert (tmp_path / "one.mp4").read_text() == "count\nhello"
    assert go(file).counts["unchanged"] == 2
    assert [counts(file, name) for name in ("one", "two")] == [1, 1]
    (tmp_path / "two.txt").write_text("count\nchanged")
    (tmp_path / "one.mp4").unlink()
    assert go(file).counts["unchanged"] == 0
    assert (tmp_path / "two.mp4").read_text() == "count\nchanged"
    assert [counts(file, name) for name in ("one", "two")] == [2, 2]
    go(file, force=True)
    assert [counts(file, name) for name in ("one", "two")] == [3, 3]


def test_a_failure_stops_only_what_waits_for_it(tmp_path: Path) -> None:
    file = studio(tmp_path, bad="count\nfail", good="hello")
    jobs = json.loads(file.read_text())["jobs"]
    jobs.append({"kind": "speak", "avatar": "a.avatar", "speech": "bad.mp4", "output": "of_bad.mp4"})
    jobs.append({"kind": "speak", "avatar": "a.avatar", "speech": "good.txt", "output": "later.mp4", "after": "bad"})
    file.write_text(json.dumps({"jobs": jobs}))
    end = go(file)
    assert (end.counts["done"], end.counts["failed"], end.counts["blocked"]) == (1, 1, 2)
    found = records(file)
    assert found["bad.mp4"].reason.endswith("bad.txt: cannot be spoken; give another")
    assert found["of_bad.mp4"].reason == found["later.mp4"].reason == "waits for bad.mp4, which failed"
    assert "cannot be spoken" in log_path(file.with_suffix(".batch"), "bad.mp4").read_text()
    assert go(file).counts["failed"] == 1
    assert counts(file, "bad") == 1, "nothing has changed, so it would fail again"
    go(file, retry_failed=True)
    assert counts(file, "bad") == 2
    (tmp_path / "bad.txt").write_text("better")
    assert go(file).counts["done"] == 4


def test_a_job_that_kills_its_workers_is_quarantined_and_leaves_nothing(tmp_path: Path) -> None:
    file = studio(tmp_path, poison="count\nhalf", good="hello", shaky="count\ncrash once")
    end = go(file)
    assert (end.counts["done"], end.counts["quarantined"]) == (2, 1)
    assert (counts(file, "poison"), counts(file, "shaky")) == (3, 2)
    reason = records(file)["poison.mp4"].reason
    assert reason == "quarantined: its worker was killed by SIGKILL, as when memory runs out, 3 times"
    assert not left_over(tmp_path)
    go(file)
    assert counts(file, "poison") == 3
    go(file, retry_failed=True)
    assert counts(file, "poison") == 6


def test_what_a_job_may_replace_is_known(tmp_path: Path) -> None:
    file = studio(tmp_path, one="note\nhello", two="note\ncrash once", old="note\nhello")
    (tmp_path / "old.mp4").write_text("somebody's own")
    go(file)
    (tmp_path / "one.txt").write_text("note\nchanged")
    go(file)
    notes = {name: (tmp_path / f"{name}.note").read_text().splitlines() for name in ("one", "two", "old")}
    assert notes["one"] == ["", "replaces"], "first it was nobody's, then this batch's own"
    assert notes["two"][0] == ""
    assert "repeated" in notes["two"][1]
    assert notes["old"] == [""], "what was there before is not this batch's"


def test_a_hanging_job_is_stopped_at_its_limit(tmp_path: Path) -> None:
    file = studio(tmp_path, stuck="hang", good="hello")
    text = json.loads(file.read_text())
    file.write_text(json.dumps(text | {"defaults": {"all": {"limit": 2}}}))
    end = go(file, workers=1)
    assert (end.counts["done"], end.counts["failed"]) == (1, 1)
    assert "time limit of 2 s" in records(file)["stuck.mp4"].reason


def test_a_full_disk_pauses_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, notes = studio(tmp_path, one="full once", two="hello"), set()
    end = go(file, retry_seconds=0.2, show=lambda snapshot: notes.add(snapshot.note))
    assert end.counts["done"] == 2
    assert any("No space left" in note for note in notes)
    room = iter([0, 0, 0])
    monkeypatch.setattr(run_module, "free_bytes", lambda path: next(room, 10**12))
    notes.clear()
    assert go(file, force=True, retry_seconds=0.2, show=lambda snapshot: notes.add(snapshot.note)).counts["done"] == 2
    assert any("paused, the disk is full; make room and it goes on" in note for note in notes)


def hold_journal(folder: Path, seconds: float) -> threading.Thread:
    """Hold the journal of a batch as another process would; returns when it is held."""
    held = threading.Event()

    def hold() -> None:
        database = sqlite3.connect(folder / "journal.sqlite", isolation_level=None, timeout=10)
        database.execute("BEGIN EXCLUSIVE")
        held.set()
        time.sleep(seconds)
        database.execute("COMMIT")
        database.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    return thread


@pytest.mark.parametrize("when", ["before", "while it is converted", "while it runs"])
def test_a_journal_that_another_process_holds(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(run_module, "JOURNAL_SECONDS", 0.1)
    file, notes, holders = studio(tmp_path, one="hello", two="sleep 1", three="hello"), list[str](), []
    folder = file.with_suffix(".batch")
    if when == "before":
        go(file)
        holders.append(hold_journal(folder, 2.0))
    elif when == "while it is converted":
        folder.mkdir()
        holders.append(hold_journal(folder, 2.0))

    def show(snapshot: Snapshot) -> None:
        notes.append(snapshot.note)
        if not holders and snapshot.counts.get("done", 0) >= 1:
            holders.append(hold_journal(folder, 2.0))

    end = go(file, workers=1, force=True, show=show)
    holders[0].join()
    assert end.counts["done"] == 3
    assert any(note.startswith("paused, the journal cannot be used now") and "locked" in note for note in notes)
    assert notes[-1] == ""
    assert {record.state for record in records(file).values()} == {"done"}


SHORT_READ = sqlite3.SQLITE_IOERR | 2 << 8  # an extended code


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("write", SHORT_READ),
        ("keep_digest", sqlite3.SQLITE_READONLY),
        ("take_cancels", sqlite3.SQLITE_CANTOPEN),
        ("end", sqlite3.SQLITE_BUSY),
        ("read", sqlite3.SQLITE_PROTOCOL),
    ],
)
def test_failures_of_the_journal_that_pass(
    method: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "JOURNAL_SECONDS", 0.01)
    monkeypatch.setattr(run_module, "CANCEL_SECONDS", 0.0)
    use, failures = getattr(Journal, method), iter(range(3))

    def failing(journal: Journal, *arguments: Any) -> Any:
        if next(failures, None) is not None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = code
            raise error
        return use(journal, *arguments)

    monkeypatch.setattr(Journal, method, failing)
    notes: list[str] = []
    assert go(studio(tmp_path, one="hello"), show=lambda snapshot: notes.append(snapshot.note)).counts["done"] == 1
    assert any("disk I/O error" in note for note in notes)
    assert next(failures, None) is None


def test_failures_of_the_journal_that_do_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(Journal, "write", failing)
    with pytest.raises(sqlite3.DatabaseError):
        go(studio(tmp_path, one="hello"))


def test_jobs_are_cancelled_while_it_runs(tmp_path: Path) -> None:
    file = studio(tmp_path, long="sleep 100", short="hello", last="hello")
    state = file.with_suffix(".batch")

    def cancel() -> None:
        while state_of(file, "long.mp4") != "running":
            time.sleep(0.1)
        assert is_running(state)
        journal = Journal(state, make=False)
        assert journal.known("long")
        assert journal.known("long.mp4")
        assert not journal.known("nobody")
        journal.request_cancel(["long"])
        journal.close()

    asking = threading.Thread(target=cancel, daemon=True)
    asking.start()
    end = go(file, workers=1)
    asking.join()
    assert (end.counts["done"], end.counts["cancelled"]) == (2, 1)
    assert not is_running(state)


def test_only_one_process_runs_a_batch(tmp_path: Path) -> None:
    file = studio(tmp_path, long="sleep 3")
    with started(file):
        wait_for(lambda: (file.with_suffix(".batch") / "scratch").exists())
        with pytest.raises(UserError, match="is being run by process"):
            go(file)
        assert (file.with_suffix(".batch") / "scratch").exists(), "the other's files are left alone"


class started:  # noqa: N801
    """The batch in a process of its own, killed at the end."""

    def __init__(self, file: Path) -> None:
        self.process = subprocess.Popen([*WORKER, str(file)])

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    speeches = {f"s{index:02d}": "count\nsleep 0.1\nhello" for index in range(12)}
    file = studio(tmp_path, **speeches)
    state = file.with_suffix(".batch")
    for wanted in (2, 5, 8):
        with started(file) as process:
            wait_for(lambda wanted=wanted: state.exists() and done(file) >= wanted)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
        wait_for(lambda: not workers_of(state))
    before = {name: record.finished for name, record in records(file).items() if record.state == "done"}
    assert len(before) >= 8
    assert go(file).counts["done"] == 12
    after = records(file)
    assert all(after[name].finished == finished for name, finished in before.items()), "nothing done is done again"
    assert all((tmp_path / f"{name}.mp4").read_text() == text for name, text in speeches.items())
    assert not left_over(tmp_path)
    assert sum(counts(file, name) for name in speeches) <= 12 + 3 * 2


def done(file: Path) -> int:
    try:
        return sum(record.state == "done" for record in records(file).values())
    except UserError:
        return 0


def workers_of(state: Path) -> list[str]:
    """Processes whose scratch folder lies in a batch's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={state}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_nothing_is_left_running_when_it_is_interrupted(tmp_path: Path) -> None:
    file = studio(tmp_path, long="sleep 100")
    state = file.with_suffix(".batch")
    with started(file) as process:
        wait_for(lambda: state.exists() and len(workers_of(state)) > 0 and running(file))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert not workers_of(state)
    assert records(file)["long.mp4"].state == "waiting"


def running(file: Path) -> bool:
    return any(record.state == "running" for record in records(file).values())


def test_workers_share_the_machine(tmp_path: Path) -> None:
    file = studio(tmp_path, one="sleep 100", two="sleep 100", three="sleep 100")
    jobs = list(plan_of(file).jobs.values())
    machine = Machine((0, 1), 2.5, ("7",))
    engine = LocalEngine(machine, tmp_path / "state", workers=2, command=WORKER)
    try:
        assert engine.room_for(jobs[0])
        on_cpu = Job(**{**vars_of(jobs[0]), "options": {"device": "cpu"}})
        engine.start(on_cpu, replaces=False, repeated=False)
        engine.start(jobs[1], replaces=False, repeated=False)
        assert not engine.room_for(jobs[2]), "both workers are busy"
        running = {one.job.id: one.worker for one in engine.running()}
        assert running == {"one.mp4": "worker 2", "two.mp4": "worker 1"}, "the one with a GPU is for what can use it"
        engine.stop(on_cpu)
        assert engine.room_for(jobs[2])
        greedy = Job(**{**vars_of(jobs[2]), "need": type(jobs[2].need)(memory=2.0)})
        assert not engine.room_for(greedy), "the memory is taken"
        with pytest.raises(UserError, match="wants 9 GB"):
            engine.check([Job(**{**vars_of(jobs[2]), "need": type(jobs[2].need)(memory=9.0)})])
        engine.stop(jobs[1])
        engine.start(Job(**{**vars_of(jobs[2]), "need": type(jobs[2].need)(gpus=1)}), replaces=False, repeated=False)
        wait_for(lambda: len(workers_of(tmp_path / "state")) == 1)  # those that were stopped take a moment to go
        (worker,) = workers_of(tmp_path / "state")
        wait_for(lambda: b"CUDA_VISIBLE_DEVICES=7\0" in Path("/proc", worker, "environ").read_bytes())
    finally:
        engine.close()
    with pytest.raises(UserError, match="wants an NVIDIA GPU, and this machine has none"):
        LocalEngine(HERE, tmp_path / "state").check([Job(**{**vars_of(jobs[2]), "need": type(jobs[2].need)(gpus=1)})])


def vars_of(job: Job) -> dict:
    return {name: getattr(job, name) for name in Job.__slots__}


def test_this_machine_has_something() -> None:
    machine = this_machine()
    assert 1 <= len(machine.cores) <= (os.cpu_count() or 1)
    assert machine.memory > 0.1


def test_the_report_names_what_failed(tmp_path: Path) -> None:
    file = studio(tmp_path, bad="fail", good="hello <b>")
    go(file)
    page = write_report(file.with_suffix(".batch"))
    assert page
    text = page.read_text()
    for words in ("1 of 2 jobs are not done", "cannot be spoken; give another", "CPU-seconds", "times real time"):
        assert words in text
    log = log_path(file.with_suffix(".batch"), "bad.mp4")
    assert f'href="logs/{log.name}"' in text
    assert log.is_file()


def test_a_cut_file_is_done_and_noted(tmp_path: Path) -> None:
    write_wav(tmp_path / "cut.wav", 0.1 * torch.randn(80000, generator=torch.Generator().manual_seed(0)))
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:96044])
    go(file := studio(tmp_path, one="read cut.wav", two=""))
    done = records(file)
    assert {record.state for record in done.values()} == {"done"}
    assert f"{tmp_path / 'cut.wav'}: 5.0 s announced, 3.0 s could be read" in done["one.mp4"].reason
    assert not done["two.mp4"].reason
    page = write_report(file.with_suffix(".batch"))
    assert page is not None
    assert "5.0 s announced, 3.0 s could be read" in page.read_text()
    assert "3.0 s could be read" in log_path(file.with_suffix(".batch"), "one.mp4").read_text()
    assert go(file).counts["done"] == 2


def test_outcomes_survive_json() -> None:
    outcome = Outcome("done", made={"a": ("1", "2")})
    assert Outcome(**json.loads(json.dumps(outcome.to_json()))).made == {"a": ["1", "2"]}


def test_durations_are_for_people() -> None:
    assert [format_seconds(seconds) for seconds in (3.2, 100, 7500)] == ["3 s", "1 min 40 s", "2 h 5 min"]


def test_the_terminal_shows_workers_and_what_holds_up(tmp_path: Path) -> None:
    job = next(iter(plan_of(studio(tmp_path, one="hello")).jobs.values()))
    counts = {"done": 3, "unchanged": 1, "failed": 1}
    shown = Console(file=io.StringIO(), width=100, record=True)
    shown.print(draw_table(Snapshot(9, counts, [Running(job, "worker 1", time.monotonic() - 7)], 10.0, 9.0, "paused")))
    text = shown.export_text()
    for words in ("4 of 9, 1 unchanged, 1 failed, about 25 s left; paused", "worker 1", "one.mp4", "7 s"):
        assert words in text
