"""The server's routes for people, films and files. Bodies and answers are JSON but for pictures, films and pieces."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from avatar.core.files import remove
from avatar.core.named_files import NAMED_LIGHTS
from avatar.studio.errors import RefusalError, not_found
from avatar.studio.films import (
    BLURRED,
    QUALITIES,
    TEXT,
    build_job,
    emotions,
    evaluate_job,
    film_job,
    pick_avatar,
    preview_request,
    sliders,
    voice_of,
    voices,
)
from avatar.studio.library import Person
from avatar.studio.processes import run_task
from avatar.studio.studio import SAMPLE, Studio
from avatar.studio.views import describe_people, describe_person, evaluation_of

PRESENT_PACKAGES = ("pptx", "pypdfium2", "betteroffice_pptx")  # of the extra `present`
MOST_JSON = 100_000  # bytes of a form
MEDIA = {"Cache-Control": "private, no-cache"}  # kept by the browser, which players need to seek
REPORT = MEDIA | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; frame-ancestors 'self'; sandbox"
    )
}
"""Reports hold their style and pictures themselves, and no script."""


def studio_of(request: Request) -> Studio:
    """The studio that a request is for."""
    studio: Studio = request.app.state.studio
    return studio


async def form_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings. Raises: RefusalError."""
    body = await request.body()
    if len(body) > MOST_JSON:
        raise RefusalError("too-large", "the form is too large", 413)
    try:
        values = json.loads(body or b"{}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise RefusalError("form", "the request is no JSON object")
    return values


def person_of(request: Request) -> Person:
    return studio_of(request).library.person(request.path_params["person"])


async def list_people(request: Request) -> Response:
    studio = studio_of(request)
    people = await run_in_threadpool(describe_people, studio)
    return JSONResponse({"people": people, "folder": str(studio.root), "free": studio.free()})


async def add_person(request: Request) -> Response:
    studio, values = studio_of(request), await form_of(request)
    upload = studio.uploads.take(str(values.get("upload")), "clip")
    person = await studio.add_person(upload, str(values.get("name") or ""), values.get("consent") or {})
    job = studio.enqueue(build_job(studio, person, values)) if values.get("build") else None
    return JSONResponse({"key": person.key, "job": job and job["id"]}, 201)


async def show_person(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(describe_person, studio_of(request), person_of(request)))


async def remove_person(request: Request) -> Response:
    await studio_of(request).remove_person(person_of(request))
    return JSONResponse({})


async def build(request: Request) -> Response:
    studio, values = studio_of(request), await form_of(request)
    return JSONResponse(studio.enqueue(build_job(studio, person_of(request), values)), 201)


async def make_film(request: Request) -> Response:
    studio, person, values = studio_of(request), person_of(request), await form_of(request)
    await _blur(studio, person, values)
    return JSONResponse(studio.enqueue(film_job(studio, person, values)), 201)


async def evaluate(request: Request) -> Response:
    studio, values = studio_of(request), await form_of(request)
    return JSONResponse(studio.enqueue(evaluate_job(studio, person_of(request), values)), 201)


async def _blur(studio: Studio, person: Person, values: dict[str, Any]) -> None:
    """Make the blurred background of a newest avatar where it is wanted and not there."""
    place = person.folder / "backgrounds" / BLURRED
    avatar = pick_avatar(person, values.get("avatar"))
    if values.get("background") != "blur":
        return
    if place.is_file() and place.stat().st_mtime >= avatar.stat().st_mtime:
        return
    place.parent.mkdir(exist_ok=True)
    if error := (await run_task("blur", {"avatar": str(avatar), "file": str(place)})).get("error"):
        raise RefusalError("blur", error)


async def preview(request: Request) -> Response:
    """Frames: for each a line of its length and as many bytes of JPEG; first a line of JSON; last maybe an error."""
    studio, person, values = studio_of(request), person_of(request), await form_of(request)
    await _blur(studio, person, values)
    speech = str(values.get("speech", SAMPLE))
    if speech == TEXT:
        speech = await studio.say(*voice_of(values))
    parts = studio.drawer.ask(preview_request(studio, person, values, speech) | {"what": "frames"})
    first, _ = await anext(parts)
    first = first | {"speech": speech}

    async def body() -> Any:
        yield json.dumps(first).encode() + b"\n"
        async for _, part in parts:
            yield b"%d\n" % len(part) + part

    return StreamingResponse(body(), media_type="application/octet-stream")


async def controls(request: Request) -> Response:
    """The person's own values of all sliders."""
    studio, person = studio_of(request), person_of(request)
    avatar = pick_avatar(person, request.query_params.get("avatar"))
    header, _ = await anext(studio.drawer.ask({"what": "controls", "avatar": str(avatar)}))
    own = {name: value for name in sliders() if isinstance(value := header["controls"].get(name), (int, float))}
    return JSONResponse({"controls": own})


async def speech_sound(request: Request) -> Response:
    """What is previewed of a speech, as every browser plays it."""
    studio, person = studio_of(request), person_of(request)
    place = studio.speech_path(person, request.path_params["name"])
    _, data = await anext(studio.drawer.ask({"what": "sound", "speech": str(place)}))
    return Response(data, media_type="audio/wav")


async def add_file(request: Request) -> Response:
    """A sound or a background that has come is moved to a person, once it was looked at."""
    studio, person, values = studio_of(request), person_of(request), await form_of(request)
    if (kind := request.path_params["kind"]) not in ("speech", "background"):
        raise not_found(kind)
    upload = studio.uploads.take(str(values.get("upload")), kind)
    found = await run_task(kind, {"file": str(studio.uploads.path(upload))})
    if error := found.get("error"):
        name = studio.uploads.path(upload)
        studio.uploads.remove(upload)
        raise RefusalError("unusable", error.replace(str(name), upload.name))
    return JSONResponse({"name": studio.add_file(person, upload)}, 201)


async def remove_file(request: Request) -> Response:
    studio, person = studio_of(request), person_of(request)
    kind = request.path_params["kind"]
    place = person.pick(_listed(person, kind), request.path_params["name"])
    if kind in ("films", "avatars"):
        studio.remove_output(place)
    else:
        remove(place)
    return JSONResponse({})


def _listed(person: Person, kind: str) -> list[Path]:
    """The files of a kind that may be seen and removed. Raises: RefusalError."""
    if kind in ("speech", "backgrounds"):
        return person.files(kind)
    if kind == "captions":
        return person.captions
    if kind not in ("films", "avatars"):
        raise not_found(kind)
    return person.films if kind == "films" else person.avatars


async def send_file(request: Request) -> Response:
    """A film, background or avatar; a range of it where one is wanted."""
    person, kind, name = person_of(request), request.path_params["kind"], request.path_params["name"]
    path = person.pick(_listed(person, kind), name)
    kept = "download" in request.query_params or kind == "avatars"
    return FileResponse(path, filename=path.name if kept else None, headers=MEDIA)


async def send_clip(request: Request) -> Response:
    return _file(person_of(request).clip)


async def send_poster(request: Request) -> Response:
    return _file(person_of(request).poster)


async def send_report(request: Request) -> Response:
    takes = person_of(request).takes
    return _file(next((take / "report.html" for take in takes if (take / "report.html").is_file()), None), REPORT)


async def send_evaluation(request: Request) -> Response:
    return _file(evaluation_of(person_of(request)), REPORT)


def _file(path: Path | None, headers: dict[str, str] = MEDIA) -> Response:
    if path is None or not path.is_file():
        raise not_found("the file")
    return FileResponse(path, headers=headers)


async def talk(request: Request) -> Response:
    """Start the avatar's live page, or find it started; its address on this machine. Raises: RefusalError."""
    studio, person = studio_of(request), person_of(request)
    if not request.app.state.talk:
        raise not_found("the live page")
    origin = f"{request.url.scheme}://{request.headers['host']}"  # the guard has looked at the host's name
    return JSONResponse({"url": await studio.live.open(pick_avatar(person, None), origin)})


async def about(request: Request) -> Response:
    """What this studio can do."""
    from importlib.metadata import version

    studio = studio_of(request)
    return JSONResponse(
        {
            "version": version("avatar-builder"),
            "folder": str(studio.root),
            "most_bytes": studio.uploads.most_bytes,
            "qualities": list(QUALITIES),
            "sliders": sliders(),
            "emotions": emotions(),
            "lights": [name for name in NAMED_LIGHTS if name != "background"],  # which may move
            "voices": voices(),
            "talk": request.app.state.talk,
            "present": all(map(importlib.util.find_spec, PRESENT_PACKAGES)),
        }
    )


_ONE = "/api/people/{person}"
ROUTES = [
    Route("/api/about", about),
    Route("/api/people", list_people),
    Route("/api/people", add_person, methods=["POST"]),
    Route(_ONE, show_person),
    Route(_ONE, remove_person, methods=["DELETE"]),
    Route(f"{_ONE}/build", build, methods=["POST"]),
    Route(f"{_ONE}/films", make_film, methods=["POST"]),
    Route(f"{_ONE}/evaluation", evaluate, methods=["POST"]),
    Route(f"{_ONE}/evaluation", send_evaluation),
    Route(f"{_ONE}/preview", preview, methods=["POST"]),
    Route(f"{_ONE}/controls", controls),
    Route(f"{_ONE}/talk", talk, methods=["POST"]),
    Route(f"{_ONE}/poster", send_poster),
    Route(f"{_ONE}/clip", send_clip),
    Route(f"{_ONE}/report", send_report),
    Route(f"{_ONE}/sound/{{name}}", speech_sound),
    Route(f"{_ONE}/add/{{kind}}", add_file, methods=["POST"]),
    Route(f"{_ONE}/{{kind}}/{{name}}", send_file),
    Route(f"{_ONE}/{{kind}}/{{name}}", remove_file, methods=["DELETE"]),
]
