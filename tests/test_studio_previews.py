"""Previews are prepared as builds end, and never in the way of one that somebody watches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from avatar.studio import previews
from avatar.studio.child import Answer
from avatar.studio.drawing import Drawer

SPEECH = Path(previews.__file__).parents[1] / "assets" / "actor_speech.flac"


class Watched:
    """A helper that notes what it is asked."""

    def __init__(self, *, busy: bool) -> None:
        self.busy, self.said = busy, list[str]()

    async def start(self) -> None:
        self.said.append("start")

    async def ask(self, request: dict[str, Any]) -> AsyncIterator[Answer]:
        self.said.append(f"{request['what']} of {request['person']}")
        yield {}, b""


def prepared(monkeypatch: pytest.MonkeyPatch, looks: list[list[dict[str, Any]]], *, busy: bool = False) -> list[str]:
    """What the helper is asked while the queue looks so, one look after the other."""
    left, drawer = iter(looks), Watched(busy=busy)
    studio: Any = SimpleNamespace(
        drawer=drawer,
        queue=SimpleNamespace(jobs=lambda: True),
        library=SimpleNamespace(person=lambda key: SimpleNamespace(key=key, avatars=[Path("a.avatar")])),
    )
    monkeypatch.setattr(previews, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(previews, "describe_queue", lambda _: {"jobs": next(left)})
    monkeypatch.setattr(previews, "preview_request", lambda studio, person, values, speech: {"person": person.key})

    async def run() -> None:
        with contextlib.suppress(RuntimeError):  # there is nothing left to look at
            await previews.prepare_previews(studio)

    asyncio.run(run())
    return drawer.said


def build(left: float | None, stage: str = "train") -> dict[str, Any]:
    return {"kind": "build", "output": "anna/anna.avatar", "person": "anna", "stage": stage, "left": left}


FILM = {"kind": "speak", "output": "anna/films/a.mp4", "person": "anna", "stage": "train", "left": 1}


def test_the_helper_starts_near_the_end_and_opens_the_avatar(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [[build(None, "track"), FILM], [build(90.0), FILM], [build(9.0), FILM], [FILM], []]
    assert prepared(monkeypatch, looks) == ["start", "first of anna"]


def test_somebody_who_watches_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(monkeypatch, [[build(90.0)], []], busy=True) == []


def test_what_was_prepared_is_what_is_drawn_from(avatar_file: Path) -> None:
    """The first frame after it opens nothing: neither avatar nor sound."""
    drawer = Drawer()
    request = {"what": "first", "avatar": str(avatar_file), "speech": str(SPEECH), "controls": {}}
    assert [data for _, data in drawer.answer(request, b"")] == [b""]
    players, sounds = dict(drawer._players), dict(drawer._sounds)
    parts = drawer.answer(request | {"what": "frames"}, b"")
    next(parts)
    assert next(parts)[1].startswith(b"\xff\xd8")
    assert len(players) == len(sounds) == 1
    assert drawer._players == players
    assert all(drawer._sounds[key] is sound for key, sound in sounds.items())
