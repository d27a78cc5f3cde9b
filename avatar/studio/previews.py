"""The first preview of an avatar, prepared while its build ends: what it needs is loaded before somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.concurrency import run_in_threadpool

from avatar.core.files import UserError
from avatar.studio.films import preview_request
from avatar.studio.studio import SAMPLE, Studio
from avatar.studio.views import describe_queue

LOOK_SECONDS = 0.5
NEAR_SECONDS = 20.0  # before a build's end: a helper starts in two to ten, by what else the cores do


async def prepare_previews(studio: Studio) -> None:
    """Start the helper shortly before a build ends, and have it open the avatar when it is there; without end."""
    building: dict[str, str] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with contextlib.suppress(UserError, OSError):  # of a journal that is being changed just now
            jobs = (await run_in_threadpool(describe_queue, studio))["jobs"] if studio.queue.jobs() else []
            now = {job["output"]: job["person"] for job in jobs if job["kind"] == "build"}
            if any(map(_ends_soon, jobs)):
                await studio.drawer.start()
            for person in [key for output, key in building.items() if output not in now]:
                await _open(studio, person)
            building = now


def _ends_soon(job: dict[str, Any]) -> bool:
    left = job.get("left")
    return job["kind"] == "build" and job.get("stage") == "train" and left is not None and left < NEAR_SECONDS


async def _open(studio: Studio, key: str) -> None:
    """Have the helper open a person's avatar, unless somebody watches something: a request would end that."""
    if studio.drawer.busy:
        return
    person = studio.library.person(key)
    if person.avatars:
        request = preview_request(studio, person, {}, SAMPLE) | {"what": "first"}
        async for _ in studio.drawer.ask(request):
            pass
