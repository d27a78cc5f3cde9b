"""Studio: a library, its queue and what works it off, uploads and helpers, put together."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avatar.batch.journal import log_path
from avatar.batch.local import WORKER
from avatar.core.consent import Consent
from avatar.core.files import PROCESS, UserError, digest_file, hold, remove
from avatar.presenter.store import store_folder
from avatar.provenance import log as film_log
from avatar.studio.errors import RefusalError
from avatar.studio.library import Library, Person, captions_of, clean_name, numbered, slug
from avatar.studio.processes import Helper, Live, run_task
from avatar.studio.queue import Job, Queue
from avatar.studio.runner import Runner, job_file
from avatar.studio.uploads import MOST_BYTES, Upload, Uploads

STOP_SECONDS = 20.0  # that a job takes at most to stop
ACTOR_SECONDS = 12.0
SAID = re.compile(r"said-[0-9a-f]{16}\.wav")
"""Names of sounds that a voice has made for previews."""
SAMPLE = "sample"
"""Stands for the speech that the package brings along."""


class Studio:
    """All that the server's routes use."""

    def __init__(self, root: Path, *, most_bytes: int = MOST_BYTES, worker: Sequence[str] = WORKER) -> None:
        """root: of the library; most_bytes: of an upload; worker: the command of a process that does jobs."""
        self.root = root.absolute()
        self.library, self.queue = Library(self.root), Queue(self.root)
        self.uploads = Uploads(self.root / ".uploads", most_bytes)
        self.runner = Runner(self.queue, worker)
        self.drawer, self.looker, self.live = Helper("draw"), Helper("look"), Live()
        self.stopping = threading.Event()  # whether the server is about to end, which ends connections that stay open
        self._checks: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self.adding = asyncio.Lock()

    def held(self) -> AbstractContextManager[None]:
        """Hold the library for this process. Raises: UserError when another studio is open on it."""
        return hold(
            self.root / ".studio.lock", f"{self.root}: is open in the studio of process {PROCESS}; use that one"
        )

    async def check(self, upload: Upload) -> dict[str, Any] | None:
        """What is in a file that has come; None while it is still being looked at. A second call goes on."""
        if upload.id not in self._checks:
            self._checks[upload.id] = asyncio.create_task(self._look_at(upload))
        task = self._checks[upload.id]
        if not task.done():
            return None
        return task.result()

    async def _look_at(self, upload: Upload) -> dict[str, Any]:
        request = {"file": str(self.uploads.path(upload)), "folder": str(self.checked_folder(upload))}
        try:
            return await run_task(upload.kind, request)
        except RefusalError as refusal:
            return refusal.to_json()

    def checked_folder(self, upload: Upload) -> Path:
        """Where pictures of an upload's check are."""
        return self.uploads.folder / f"{upload.id}.check"

    async def film_actor(self) -> Upload:
        """An upload that is a clip of the synthetic person. Raises: UserError."""
        upload = self.uploads.begin("clip", "synthetic person.mp4", None)
        found = await run_task("actor", {"file": str(self.uploads.path(upload)), "seconds": ACTOR_SECONDS})
        if error := found.get("error"):
            raise UserError(error)
        return self.uploads.finish(upload)

    async def add_person(self, upload: Upload, name: str, consent: dict[str, Any]) -> Person:
        """A new person of a clip that has come. Raises: RefusalError."""
        clip, name = self.uploads.path(upload), clean_name(name)
        digest = await asyncio.to_thread(digest_file, clip)
        record = make_consent(name, consent, digest)
        async with self.adding:
            if not clip.is_file():
                raise RefusalError("used", "this clip was used in another tab; look at your people", 409)
            person = self.library.add(name, clip, record, self.checked_folder(upload) / "poster.jpg")
            self._checks.pop(upload.id, None)
            self.uploads.remove(upload)
        return person

    def add_file(self, person: Person, upload: Upload) -> str:
        """Move a sound or background into a person's folder; returns its name there."""
        kind = {"speech": "speech", "background": "backgrounds"}[upload.kind]
        folder = person.folder / kind
        folder.mkdir(exist_ok=True)
        base = slug(Path(upload.name).stem) or upload.kind
        for name in numbered(base):
            if not (place := folder / f"{name}{upload.ending}").exists():
                break
        os.replace(self.uploads.path(upload), place)
        self._checks.pop(upload.id, None)
        self.uploads.remove(upload)
        return place.name

    def speech_path(self, person: Person, name: str) -> Path:
        """Where a speech is. Raises: RefusalError."""
        if name == SAMPLE:
            return Path(str(files("avatar") / "assets" / "actor_speech.flac"))
        if SAID.fullmatch(name):
            return person.pick([*self.uploads.folder.glob("said-*.wav")], name)
        return person.pick(person.files("speech"), name)

    async def say(self, text: str, voice: str, language: str) -> str:
        """Have a voice say a text for previews; the name of the sound. Raises: UserError."""
        found = hashlib.sha256(json.dumps([text, voice, language]).encode()).hexdigest()[:16]
        place = self.uploads.folder / f"said-{found}.wav"
        if not place.is_file():
            self.uploads.folder.mkdir(exist_ok=True)
            words = place.with_suffix(".txt")
            words.write_text(text, encoding="utf-8")
            try:
                made = await run_task(
                    "say", {"text": str(words), "voice": voice, "language": language, "file": str(place)}
                )
            finally:
                remove(words)
            if error := made.get("error"):
                raise UserError(error)
        return place.name

    def enqueue(self, job: Job) -> Job:
        """Add a job to the queue, and begin."""
        added = self.queue.add(job)
        self.runner.wake()
        return added

    def replace_film(self, job: Job) -> Job:
        """As `enqueue`, of a film that is made anew where it stands."""
        if any(other["output"] == job["output"] for other in self.queue.jobs()):
            raise RefusalError("queued", f"{job['output']} is in the queue already", 409, id=job["id"])
        self.runner.forget(self.root / job["output"])
        return self.enqueue(job)

    async def remove_person(self, person: Person) -> None:
        """Delete all of a person: files, jobs, logs, what journal and log of films know. Raises: RefusalError."""
        prefix = f"{person.key}/"
        jobs = [job for job in self.queue.jobs() if job["output"].startswith(prefix)]
        for job in jobs:
            self.runner.cancel(job)
        await self._wait_until_gone(prefix)
        self.drawer.stop()
        await asyncio.to_thread(self._remove_now, person)

    async def _wait_until_gone(self, prefix: str) -> None:
        for _ in range(int(STOP_SECONDS * 10)):
            if not any(job["output"].startswith(prefix) for job in self.queue.jobs()):
                return
            await asyncio.sleep(0.1)
        raise RefusalError("busy", "a job of this person could not be stopped; cancel it and delete them then", 409)

    def _remove_now(self, person: Person) -> None:
        places = person.own_places
        outputs = [str(path.relative_to(self.root)) for place in places for path in (place, *_inside(place))]
        self.library.remove(person)
        for output in outputs:
            remove(log_path(self.queue.folder, output))
        for place in places:
            self.runner.forget(place)
            film_log.forget(str(place))
        remove(self.queue.folder / "batch.html")

    def remove_output(self, film: Path) -> None:
        """Delete a film or avatar with all that lies beside it, and what the journal knows of it."""
        for place in (film, job_file(film), film.with_name(f"{film.name}.c2pa"), film.with_suffix(".c2pa")):
            remove(place)
        for place in (*captions_of(film), store_folder(film)):
            remove(place)
        remove(log_path(self.queue.folder, str(film.relative_to(self.root))))
        self.runner.forget(film)

    def free(self) -> int:
        """Bytes that the library's disk has left."""
        return shutil.disk_usage(self.root).free


def make_consent(name: str, values: dict[str, Any], digest: str) -> Consent:
    """The record of what a form says. Raises: RefusalError that names the field."""
    who, name = values.get("who"), " ".join(name.split())
    if who not in ("self", "other", "nobody"):
        raise RefusalError("consent-who", "say who is shown: you, somebody who agreed, or a person who does not exist")
    if not values.get("agreed"):
        raise RefusalError("consent-agreed", "confirm that it is so; without it no avatar is built")
    common = {"source_sha256": digest, "uses": _lines(values.get("uses")), "expires": values.get("expires") or None}
    try:
        if who == "nobody":
            return Consent(kind="synthetic", subject=name, attested_by="the maker of the clip", **common)
        if who == "self":
            return Consent(kind="self", subject=name, attested_by=name, date=datetime.date.today(), **common)
        return Consent(
            subject=name,
            attested_by=str(values.get("attested_by") or ""),
            date=values.get("date") or datetime.date.today(),
            revocation_contact=str(values.get("contact") or ""),
            **common,
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = str((first["loc"] or ("",))[0])
        text = f"{field + ': ' if field else ''}{first['msg'].removeprefix('Value error, ')}"
        raise RefusalError("consent-field", text, field=field) from error


def _lines(value: Any) -> tuple[str, ...]:
    return tuple(line.strip() for line in str(value or "").replace(",", "\n").splitlines() if line.strip())


def _inside(place: Path) -> list[Path]:
    return list(place.rglob("*")) if place.is_dir() else []
