"""The server's routes for decks: taken, shown slide by slide, made into films; and the chapters of those."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from avatar.studio.decks import add_deck, chapters_of, describe_deck, present_job, remove_deck, slide_picture
from avatar.studio.routes import MEDIA, form_of, person_of, studio_of


def _deck(request: Request) -> Path:
    person = person_of(request)
    return person.pick(person.decks, request.path_params["deck"])


async def take_deck(request: Request) -> Response:
    """A deck that has come, or the new version of one."""
    studio, person, values = studio_of(request), person_of(request), await form_of(request)
    upload = studio.uploads.take(str(values.get("upload")), "deck")
    return JSONResponse(await add_deck(studio, person, upload, str(values.get("replaces") or "")), 201)


async def show_deck(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(describe_deck, person_of(request), _deck(request)))


async def drop_deck(request: Request) -> Response:
    await run_in_threadpool(remove_deck, studio_of(request), _deck(request))
    return JSONResponse({})


async def send_slide(request: Request) -> Response:
    return FileResponse(slide_picture(_deck(request), request.path_params["picture"]), headers=MEDIA)


async def make_deck_film(request: Request) -> Response:
    studio, values = studio_of(request), await form_of(request)
    job = present_job(studio, person_of(request), _deck(request), values)
    return JSONResponse(await run_in_threadpool(studio.replace_film, job), 201)


async def show_chapters(request: Request) -> Response:
    person = person_of(request)
    film = person.pick(person.films, request.path_params["name"])
    return JSONResponse({"chapters": await run_in_threadpool(chapters_of, film)})


_ONE = "/api/people/{person}"
ROUTES = [
    Route(f"{_ONE}/decks", take_deck, methods=["POST"]),
    Route(f"{_ONE}/decks/{{deck}}", show_deck),
    Route(f"{_ONE}/decks/{{deck}}", drop_deck, methods=["DELETE"]),
    Route(f"{_ONE}/decks/{{deck}}/film", make_deck_film, methods=["POST"]),
    Route(f"{_ONE}/decks/{{deck}}/{{picture}}", send_slide),
    Route(f"{_ONE}/chapters/{{name}}", show_chapters),
]
