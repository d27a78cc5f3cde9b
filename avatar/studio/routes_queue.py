"""The server's routes for uploads, the queue, hints and verification; and what happens, as it happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from avatar.batch.attempt import read_end
from avatar.batch.journal import Journal, log_path
from avatar.core.files import UserError
from avatar.studio.errors import RefusalError, not_found
from avatar.studio.processes import run_task
from avatar.studio.routes import MEDIA, form_of, studio_of
from avatar.studio.studio import Studio
from avatar.studio.uploads import PIECE, Upload
from avatar.studio.views import describe_queue, latest_picture

EVENT_SECONDS = 0.5  # between two looks at the queue
ALIVE_SECONDS = 15.0  # between two signs of life, without which proxies end a connection
MOST_HINT = 500_000  # bytes of a camera's picture
MOST_LOG = 20_000  # characters of a log that are shown


def _upload(request: Request) -> Upload:
    return studio_of(request).uploads.find(request.path_params["id"])


def _state(studio: Studio, upload: Upload) -> dict[str, Any]:
    return {"id": upload.id, "received": studio.uploads.received(upload), "whole": upload.whole, "name": upload.name}


async def begin_upload(request: Request) -> Response:
    studio, values = studio_of(request), await form_of(request)
    size = values.get("size")
    if size is not None and not isinstance(size, int):
        raise RefusalError("form", "size: must be a number of bytes, or null")
    upload = studio.uploads.begin(str(values.get("kind")), str(values.get("name") or ""), size)
    return JSONResponse(_state(studio, upload) | {"piece": PIECE}, 201)


async def show_upload(request: Request) -> Response:
    return JSONResponse(_state(studio_of(request), _upload(request)))


async def append_upload(request: Request) -> Response:
    """The bytes of the body go to the end, where `offset` must be."""
    studio, upload = studio_of(request), _upload(request)
    if not (offset := request.query_params.get("offset", "")).isdecimal():
        raise RefusalError("form", "offset: must be a number of bytes")
    received = await studio.uploads.append(upload, int(offset), request.stream())
    return JSONResponse({"received": received})


async def finish_upload(request: Request) -> Response:
    studio, upload = studio_of(request), _upload(request)
    return JSONResponse(_state(studio, upload if upload.whole else studio.uploads.finish(upload)))


async def remove_upload(request: Request) -> Response:
    studio_of(request).uploads.remove(_upload(request))
    return JSONResponse({})


async def check_upload(request: Request) -> Response:
    """What is in a file: asked for again and again until `checked`; a studio that was killed looks again."""
    studio, upload = studio_of(request), _upload(request)
    studio.uploads.take(upload.id, upload.kind)
    found = await studio.check(upload)
    if found is None:
        return JSONResponse({"checked": False})
    path = str(studio.uploads.path(upload))
    return JSONResponse(json.loads(json.dumps(found).replace(path, upload.name)) | {"checked": True})


async def check_picture(request: Request) -> Response:
    studio, upload = studio_of(request), _upload(request)
    folder = studio.checked_folder(upload)
    listed = {path.name: path for path in folder.glob("*.jpg")} if folder.is_dir() else {}
    if (path := listed.get(request.path_params["name"])) is None:
        raise not_found("the picture")
    return FileResponse(path, headers=MEDIA)


async def film_actor(request: Request) -> Response:
    studio = studio_of(request)
    return JSONResponse(_state(studio, await studio.film_actor()), 201)


async def hints(request: Request) -> Response:
    """What to change before filming; the body is a JPEG of the camera."""
    body = await request.body()
    if len(body) > MOST_HINT:
        raise RefusalError("too-large", "the picture is too large", 413)
    found, _ = await anext(studio_of(request).looker.ask({}, body))
    return JSONResponse(found)


async def verify(request: Request) -> Response:
    """Where a film, picture or sound is from; it is removed again."""
    studio, values = studio_of(request), await form_of(request)
    upload = studio.uploads.take(str(values.get("upload")), "verify")
    try:
        found = await run_task("verify", {"file": str(studio.uploads.path(upload))})
    finally:
        studio.uploads.remove(upload)
    if error := found.get("error"):
        raise RefusalError("unusable", error.replace(str(studio.uploads.path(upload)), upload.name))
    return JSONResponse(found | {"file": upload.name})


async def show_queue(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(describe_queue, studio_of(request)))


async def cancel_job(request: Request) -> Response:
    studio = studio_of(request)
    await run_in_threadpool(studio.runner.cancel, studio.queue.find(request.path_params["id"]))
    return JSONResponse({})


async def retry_job(request: Request) -> Response:
    studio, values = studio_of(request), await form_of(request)
    job = studio.queue.find(request.path_params["id"])
    force = bool(values.get("force")) and job["kind"] == "build"
    await run_in_threadpool(lambda: studio.runner.retry(job, force=force))
    return JSONResponse({})


async def job_log(request: Request) -> Response:
    studio = studio_of(request)
    job = studio.queue.find(request.path_params["id"])
    text = read_end(log_path(studio.queue.folder, job["output"]))
    return PlainTextResponse(text[-MOST_LOG:])


async def job_picture(request: Request) -> Response:
    studio = studio_of(request)
    if (path := latest_picture(studio, studio.queue.find(request.path_params["id"]))) is None:
        raise not_found("the picture")
    return FileResponse(path, headers=MEDIA)


async def cancel_other(request: Request) -> Response:
    """Cancel a job of another batch of the folder."""
    studio, values = studio_of(request), await form_of(request)
    folders = {path.stem: path for path in studio.root.glob("*.batch") if (path / "journal.sqlite").is_file()}
    if (folder := folders.get(request.path_params["name"])) is None:
        raise not_found("the batch")
    with closing(Journal(folder, make=False)) as journal:
        if not journal.known(name := str(values.get("id"))):
            raise not_found("the job")
        journal.request_cancel([name])
    return JSONResponse({})


async def events(request: Request) -> Response:
    """Server-sent events: `queue`, whenever it has changed."""
    return StreamingResponse(_events(request), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(request: Request) -> AsyncIterator[str]:
    studio, last, quiet = studio_of(request), "", 0.0
    yield "retry: 1000\n\n"
    while not studio.stopping.is_set():
        try:
            now = json.dumps(await run_in_threadpool(describe_queue, studio))
        except (UserError, OSError):  # of a journal that is being changed just now
            now = last
        quiet = 0.0 if now != last else quiet + EVENT_SECONDS
        if now != last:
            yield f"event: queue\ndata: {now}\n\n"
        elif quiet >= ALIVE_SECONDS:
            quiet = 0.0
            yield ": alive\n\n"
        last = now
        await asyncio.sleep(EVENT_SECONDS)


ROUTES = [
    Route("/api/uploads", begin_upload, methods=["POST"]),
    Route("/api/uploads/{id}", show_upload),
    Route("/api/uploads/{id}", append_upload, methods=["PATCH"]),
    Route("/api/uploads/{id}", remove_upload, methods=["DELETE"]),
    Route("/api/uploads/{id}/finish", finish_upload, methods=["POST"]),
    Route("/api/uploads/{id}/check", check_upload),
    Route("/api/uploads/{id}/check/{name}", check_picture),
    Route("/api/actor", film_actor, methods=["POST"]),
    Route("/api/hints", hints, methods=["POST"]),
    Route("/api/verify", verify, methods=["POST"]),
    Route("/api/queue", show_queue),
    Route("/api/queue/{id}/cancel", cancel_job, methods=["POST"]),
    Route("/api/queue/{id}/retry", retry_job, methods=["POST"]),
    Route("/api/queue/{id}/log", job_log),
    Route("/api/queue/{id}/picture", job_picture),
    Route("/api/batches/{name}/cancel", cancel_other, methods=["POST"]),
    Route("/api/events", events),
]
