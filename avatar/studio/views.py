"""What the page is sent: plain values of people, jobs and files."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from avatar.batch.journal import Journal, Record, is_running
from avatar.batch.progress import read_progress
from avatar.core.consent import parse_text
from avatar.core.files import UserError
from avatar.studio.estimates import seconds_left
from avatar.studio.library import Person, captions_of, size_of
from avatar.studio.queue import Job, command_of
from avatar.studio.runner import QueueState, job_file
from avatar.studio.studio import Studio

ACTIVE = ("waiting", "running")
MOST_FOREIGN = 200  # jobs of other batches that are shown


def describe_people(studio: Studio) -> list[dict[str, Any]]:
    """All people, in short."""
    return [_short(one) | {"bytes": sum(map(size_of, one.own_places))} for one in studio.library.people()]


def _short(person: Person) -> dict[str, Any]:
    poster = person.poster
    return {
        "key": person.key,
        "name": person.name,
        "made": person.about.get("made", ""),
        "avatars": [path.name for path in person.avatars],
        "films": len(person.films),
        "clip": bool(person.clip),
        "poster": f"/api/people/{quote(person.key)}/poster?{poster.stat().st_mtime_ns}" if poster else None,
    }


def describe_person(studio: Studio, person: Person) -> dict[str, Any]:
    """A person with all that is theirs."""
    clip, base = person.clip, f"/api/people/{quote(person.key)}"
    consent = _read(person.folder / "consent.json")
    report = next((take / "report.html" for take in person.takes if (take / "report.html").is_file()), None)
    evaluation = next((path for path in _evaluations(person) if path.is_file()), None)
    return _short(person) | {
        "folder": str(person.folder),
        "consent": consent,
        "uses": list(record.uses) if (record := parse_text(json.dumps(consent))) else [],
        "clip": {"name": clip.name, "bytes": size_of(clip), "url": f"{base}/clip"} if clip else None,
        "avatars": [
            {"name": one.name, "bytes": size_of(one), "url": f"{base}/avatars/{quote(one.name)}"}
            for one in person.avatars
        ],
        "takes": [{"name": one.name, "bytes": size_of(one)} for one in person.takes],
        "films": [_film(base, path) for path in person.films],
        "decks": [path.name for path in person.decks],
        "speech": [{"name": path.name, "bytes": size_of(path)} for path in person.files("speech")],
        "backgrounds": [
            {"name": path.name, "url": f"{base}/backgrounds/{quote(path.name)}"} for path in person.files("backgrounds")
        ],
        "report": f"{base}/report" if report else None,
        "evaluation": f"{base}/evaluation?{evaluation.stat().st_mtime_ns}" if evaluation else None,
        "bytes": sum(map(size_of, person.own_places)),
    }


def _evaluations(person: Person) -> list[Path]:
    return [person.folder / "evaluation.html", *person.folder.glob("*_evaluation.html")]


def evaluation_of(person: Person) -> Path | None:
    """The page of figures."""
    return next((path for path in _evaluations(person) if path.is_file()), None)


def _film(base: str, path: Path) -> dict[str, Any]:
    made = _read(job_file(path))
    status = path.stat()
    return {
        "name": path.name,
        "bytes": status.st_size,
        "made": status.st_mtime,
        "url": f"{base}/films/{quote(path.name)}?{status.st_mtime_ns}",
        "job": made.get("job"),
        "text": _text(path.parent.parent / "texts" / f"{path.stem}.txt"),
        "command": made.get("command", ""),
        "note": made.get("note", ""),
        "captions": [f"{base}/captions/{quote(place.name)}" for place in captions_of(path)],
    }


def _text(path: Path) -> str:
    """The words of a film that says some."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def describe_queue(studio: Studio) -> dict[str, Any]:
    """The queue, and what other batches of the folder do."""
    state = studio.runner.state()
    jobs = [_job(studio, job, state) for job in studio.queue.jobs()]
    return {
        "jobs": [job for job in jobs if job],
        "note": state.note,
        "elsewhere": state.elsewhere,
        "other": _other(studio),
    }


def _job(studio: Studio, job: Job, state: QueueState) -> dict[str, Any] | None:
    record = state.records.get(job["id"])
    problem = state.problems.get(job["id"])
    name = record.state if record else "waiting"
    if name == "cancelled":
        return None
    if name == "done":  # it leaves the queue in a moment; one whose output is gone is made again
        name = "running" if (studio.root / job["output"]).exists() else "waiting"
    if problem and name in ACTIVE:
        name = "failed"
    person = job["output"].split("/")[0]
    shown = {
        "id": job["id"],
        "kind": job["kind"],
        "person": person,
        "output": job["output"],
        "state": name,
        "reason": problem or (record.reason if record else ""),
        "command": command_of(job),
        "forced": bool(job.get("force")),
    }
    return shown | (_running(studio, job) if name == "running" else {})


def _running(studio: Studio, job: Job) -> dict[str, Any]:
    progress = read_progress(studio.queue.folder, job["output"])
    left = seconds_left(job, progress)
    picture = latest_picture(studio, job)
    return {
        "stage": progress.stage if progress else "start",
        "done": progress.done if progress else 0,
        "total": progress.total if progress else 0,
        "began": progress.began if progress else time.time(),
        "left": None if left is None else round(left),
        "picture": f"/api/queue/{quote(job['id'])}/picture?{picture.name}" if picture else None,
    }


def latest_picture(studio: Studio, job: Job) -> Path | None:
    """The last picture of a training: truth, prediction and their difference, side by side."""
    if job["kind"] != "build":
        return None
    folder = (studio.root / job["output"]).with_suffix(".training")
    return max(folder.glob("*s.png"), key=lambda path: path.stat().st_mtime, default=None)


def _other(studio: Studio) -> list[dict[str, Any]]:
    """Jobs of other job files of the folder, as `avatar batch` started them."""
    found = []
    for folder in sorted(studio.root.glob("*.batch")):
        if folder == studio.queue.folder or not (folder / "journal.sqlite").is_file():
            continue
        try:
            with closing(Journal(folder, make=False)) as journal:
                records = list(journal.read())
        except UserError:  # of another version
            continue
        live = is_running(folder)
        found.append(
            {"name": folder.stem, "running": live, "jobs": [_foreign(one, folder) for one in records][:MOST_FOREIGN]}
        )
    return found


def _foreign(record: Record, folder: Path) -> dict[str, Any]:
    shown = {"id": record.id, "kind": record.kind, "state": record.state, "reason": record.reason}
    if record.state != "running" or (progress := read_progress(folder, record.id)) is None:
        return shown
    left = seconds_left({"kind": record.kind}, progress)
    return shown | {
        "stage": progress.stage,
        "done": progress.done,
        "total": progress.total,
        "left": left and round(left),
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
