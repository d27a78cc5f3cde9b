"""The studio's server: uploads, people, the queue, and what it refuses."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from avatar.batch.plan import make_plan
from avatar.core.consent import read_consent
from avatar.core.files import UserError, digest_file
from avatar.studio import films
from avatar.studio import uploads as uploads_module
from avatar.studio.errors import RefusalError
from avatar.studio.library import Library, Person, slug
from avatar.studio.queue import check_job, command_of
from avatar.studio.server import Address, make_app
from avatar.studio.studio import Studio, make_consent
from avatar.studio.uploads import KEPT_FREE, Uploads
from tests.studio_process import CONSENT, Served, expected

CLIP = bytes(range(256)) * 4000  # what is in it nobody looks at here


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A studio with workers that copy."""
    running = Served(tmp_path_factory.mktemp("library"))
    yield running
    running.stop()


def test_a_clip_becomes_an_avatar_and_a_film(served: Served) -> None:
    key = served.add("Ånna Beispiel", CLIP, build=True, quality="quick")
    assert key == "anna-beispiel"
    folder = served.folder / key
    served.wait(folder / f"{key}.avatar")
    assert (folder / "clip.mp4").read_bytes() == CLIP
    assert (folder / f"{key}.avatar").read_bytes() == expected(CLIP)
    consent = read_consent(folder / "consent.json")
    assert (consent.kind, consent.subject, consent.source_sha256) == (
        "self",
        "Ånna Beispiel",
        digest_file(folder / "clip.mp4"),
    )
    kept = json.loads((folder / f"{key}.avatar.json").read_text())
    assert (
        kept["command"]
        == f"avatar build {key}/clip.mp4 -o {key}/{key}.avatar --consent {key}/consent.json --budget 90s"
    )
    (folder / "speech").mkdir()
    (folder / "speech" / "hello.wav").write_bytes(b"a speech of some length")
    made = served.json(
        "POST",
        f"/api/people/{key}/films",
        {"speech": "hello.wav", "controls": {"head": 1.5, "mouth_gain": 1}, "background": "colour", "value": "#20a040"},
    )
    assert made["kind"] == "speak"
    assert (made["head"], made["mouth_gain"], made["background"]) == (1.5, 1.0, "#20a040")
    served.wait(folder / "films" / "hello.mp4")
    shown = served.json("GET", f"/api/people/{key}")
    assert [film["name"] for film in shown["films"]] == ["hello.mp4"]
    assert shown["films"][0]["job"]["head"] == 1.5
    status, _, body = served.request("GET", shown["films"][0]["url"], headers={"Range": "bytes=0-3"})
    assert (status, body) == (206, expected(b"a speech of some length")[:4])
    assert not list(served.folder.rglob("*.part*"))


def test_what_a_terminal_started_is_shown(served: Served) -> None:
    """Another job file's journal in the folder, and people that the command line made."""
    from avatar.batch.jobs import Job, Need
    from avatar.batch.journal import Journal

    jobs = [Job(one, "speak", 1, "", {}, {"output": f"/x/{one}"}, {}, Need(), 1.0) for one in ("one", "two")]
    (served.folder / "demo").mkdir()
    (served.folder / "demo" / "actor.avatar").write_bytes(b"an avatar")
    (served.folder / "demo" / "actor.mp4").write_bytes(b"its clip")
    (served.folder / "demo" / "actor_speaks.mp4").write_bytes(b"a film")
    journal = Journal(served.folder / "night.batch")
    journal.begin(jobs, served.folder / "night.yaml", "local")
    journal.close()
    shown = served.json("GET", "/api/people/demo")
    assert (shown["avatars"][0]["name"], shown["clip"]["name"]) == ("actor.avatar", "actor.mp4")
    assert [film["name"] for film in shown["films"]] == ["actor_speaks.mp4"]
    other = served.json("GET", "/api/queue")["other"]
    assert [(one["name"], [job["state"] for job in one["jobs"]]) for one in other] == [("night", ["waiting"] * 2)]


def test_a_failure_says_why_and_may_be_forced(served: Served) -> None:
    clip = b"fail" + CLIP
    key = served.add("Failing", clip, build=True, quality="quick")
    job = _state_of(served, f"{key}.build.{key}", "failed")
    assert job["reason"].startswith("the lips never move")
    log = served.request("GET", f"/api/queue/{job['id']}/log")[2].decode()
    assert "the lips never move" in log
    served.json("POST", f"/api/queue/{job['id']}/retry", {"force": True})
    served.wait(served.folder / key / f"{key}.avatar")


def _state_of(served: Served, id: str, state: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = [job for job in served.json("GET", "/api/queue")["jobs"] if job["id"] == id and job["state"] == state]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{id} is not {state}")


def test_two_tabs_cannot_build_one_person(served: Served) -> None:
    key = served.add("Twice", b"fail" + CLIP)
    served.json("POST", f"/api/people/{key}/build", {"quality": "quick"})
    refused = served.refused("POST", f"/api/people/{key}/build", {"quality": "quick"})
    assert refused["code"] == "building"
    id = refused["values"]["id"]
    _state_of(served, id, "failed")
    served.json("POST", f"/api/queue/{id}/cancel", {})
    assert id not in [job["id"] for job in served.json("GET", "/api/queue")["jobs"]]


def test_a_clip_is_used_once(served: Served) -> None:
    upload = served.upload("clip", "clip.mp4", CLIP)
    form = {"upload": upload, "name": "Once", "consent": CONSENT}
    served.json("POST", "/api/people", form)
    assert served.refused("POST", "/api/people", form)["code"] == "gone"


def test_deleting_a_person_leaves_nothing(served: Served) -> None:
    key = served.add("Xaverine Vergiss", CLIP, build=True, quality="quick")
    served.wait(served.folder / key / f"{key}.avatar")
    served.json("DELETE", f"/api/people/{key}")
    served.refused("GET", f"/api/people/{key}")
    for path in served.folder.rglob("*"):
        assert key not in path.name
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 300 + ".mp4", "ü/..\\..\0.mp4", ".mp4"])
def test_names_are_never_paths(served: Served, name: str) -> None:
    before = {path for path in served.folder.parent.iterdir()}
    answer = served.request("POST", "/api/uploads", {"kind": "clip", "name": name + ".mp4", "size": 10})
    assert answer[0] == 201
    refused = served.refused("POST", "/api/people", {"upload": json.loads(answer[2])["id"], "name": name})
    assert refused["code"] == "not-whole"
    assert {path for path in served.folder.parent.iterdir()} == before
    assert all(len(path.name) < 60 for path in (served.folder / ".uploads").iterdir())


def test_a_name_is_short_and_not_empty(served: Served) -> None:
    for name, code in (("a" * 300, "name-long"), ("  \n ", "name")):
        upload = served.upload("clip", "clip.mp4", CLIP)
        assert (
            served.refused("POST", "/api/people", {"upload": upload, "name": name, "consent": CONSENT})["code"] == code
        )
    assert slug("Ärger & Söhne / ../x") == "arger-sohne-x"


@pytest.mark.parametrize("path", ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "nobody", "studio.batch", ".uploads"])
def test_people_come_from_a_listing(served: Served, path: str) -> None:
    assert served.request("GET", f"/api/people/{path}")[0] == 404
    assert served.request("GET", f"/api/people/{path}/films/{path}")[0] == 404
    assert served.request("DELETE", f"/api/people/{path}")[0] in (404, 405)


def test_uploads_go_on_where_a_connection_was_lost(served: Served) -> None:
    id = served.json("POST", "/api/uploads", {"kind": "clip", "name": "a.webm", "size": None})["id"]
    served.json("PATCH", f"/api/uploads/{id}?offset=0", CLIP[:1000])
    refused = served.refused("PATCH", f"/api/uploads/{id}?offset=500", CLIP[500:1500])
    assert (refused["code"], refused["values"]["received"]) == ("offset", 1000)
    assert served.json("GET", f"/api/uploads/{id}")["received"] == 1000
    served.json("PATCH", f"/api/uploads/{id}?offset=1000", CLIP[1000:3000])
    assert served.json("POST", f"/api/uploads/{id}/finish", {})["whole"]
    [path] = (served.folder / ".uploads").glob(f"{id}.webm")
    assert path.read_bytes() == CLIP[:3000]


def test_sizes_and_kinds_are_limited(served: Served) -> None:
    large = {"kind": "clip", "name": "a.mp4", "size": 10_000_000_000}
    assert served.refused("POST", "/api/uploads", large)["code"] == "too-large"
    for name in ("a.exe", "a", "a.html"):
        assert served.refused("POST", "/api/uploads", {"kind": "clip", "name": name, "size": 10})["code"] == "ending"
    assert served.refused("POST", "/api/uploads", {"kind": "clip", "name": "a.mp4", "size": 0})["code"] == "empty"
    id = served.json("POST", "/api/uploads", {"kind": "clip", "name": "a.mp4", "size": 10})["id"]
    assert served.refused("PATCH", f"/api/uploads/{id}?offset=0", b"x" * 11)["code"] == "too-large"
    status = served.request("PATCH", f"/api/uploads/{id}?offset=0", b"x" * 5_000_000)[0]
    assert status == 413  # by the guard, before the route sees it


def test_a_file_that_is_no_clip_gets_a_sentence(served: Served) -> None:
    id = served.upload("clip", "holiday.mp4", b"these are no pictures at all" * 100)
    until = time.monotonic() + 60
    while not (found := served.json("GET", f"/api/uploads/{id}/check"))["checked"]:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert found["error"].startswith("holiday.mp4: is not a video or sound file that ffmpeg can read")


def test_an_avatar_that_cannot_be_read_gets_a_sentence(served: Served) -> None:
    (served.folder / "old").mkdir()
    (served.folder / "old" / "old.avatar").write_bytes(b"not an avatar")
    refused = served.refused("GET", "/api/people/old/controls")
    assert refused["error"].startswith("old/old.avatar: ")
    assert "\n" not in refused["error"]


def test_events_bring_the_queue(served: Served) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/api/events")
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [answer.readline() for _ in range(4)]
    assert lines[2] == b"event: queue\n"
    assert "jobs" in json.loads(lines[3].removeprefix(b"data: "))
    connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403),
    ],
)
def test_other_sites_are_refused(served: Served, headers: dict[str, str], status: int) -> None:
    for method, path in (("GET", "/"), ("POST", "/api/uploads"), ("DELETE", "/api/people/demo")):
        assert served.request(method, path, {} if method == "POST" else None, headers)[0] == status


def test_the_page_loads_nothing_from_elsewhere(served: Served) -> None:
    status, headers, body = served.request("GET", "/")
    policy = headers["content-security-policy"]
    assert status == 200
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert headers["permissions-policy"].startswith("camera=(self)")
    weight, paths = len(body), ["/page/studio.css", "/page/icon.svg", "/page/app.js"]
    while paths:
        path = paths.pop()
        status, _, found = served.request("GET", path)
        assert status == 200, path
        weight += len(found)
        text = found.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        paths += [p for name in re.findall(r'from "\./(\w+\.js)"', text) if (p := f"/page/{name}") not in SEEN]
        SEEN.update(paths)
    assert not re.search(rb"<script>|<style|style=|onclick", body)
    assert weight < 200_000


SEEN: set[str] = set()


def test_others_need_a_token(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a token"):
        make_app(Studio(tmp_path), Address(host="0.0.0.0"))


def _ask(app: Any, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an application's answer, without a connection."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in ({"host": "studio.lan"} | headers).items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": given, "scheme": "http"}
    asyncio.run(app(scope | {"server": ("studio.lan", 80), "root_path": "", "http_version": "1.1"}, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(("framed_by", "who"), [("", "'none'"), ("http://127.0.0.1:8770", "http://127.0.0.1:8770")])
def test_a_live_page_stands_in_frames_of_its_studio_alone(framed_by: str, who: str) -> None:
    from starlette.responses import Response

    from avatar.serve.app import Network
    from avatar.serve.guard import protect

    app = protect(Response("page"), Network(framed_by=framed_by).guard())
    policy = _ask(app, "GET", "/", host="127.0.0.1")[1]["content-security-policy"]
    assert f"frame-ancestors {who};" in policy
    assert policy.count("frame-ancestors") == 1


def test_a_token_becomes_a_cookie(tmp_path: Path) -> None:
    from avatar.serve.guard import digest_token

    app = make_app(Studio(tmp_path), Address(host="192.0.2.1", names=("studio.lan",), tokens=(digest_token("s" * 24),)))
    assert _ask(app, "GET", "/")[0] == 200
    assert _ask(app, "GET", "/api/people")[0] == 401
    assert json.loads(_ask(app, "POST", "/api/session", {"token": "wrong"})[2])["code"] == "token"
    kept = _ask(app, "POST", "/api/session", {"token": "s" * 24})[1]["set-cookie"]
    assert "HttpOnly" in kept
    assert "SameSite=strict" in kept
    cookie = kept.split(";")[0]
    assert _ask(app, "GET", "/api/people", cookie=cookie)[0] == 200
    assert _ask(app, "POST", "/api/uploads", {}, cookie=cookie, origin="http://evil.example")[0] == 403
    assert _ask(app, "GET", "/api/people", cookie=cookie, host="other.lan")[0] == 400


def test_a_library_is_open_in_one_studio(tmp_path: Path) -> None:
    with (
        Studio(tmp_path).held(),
        pytest.raises(UserError, match="is open in the studio of process"),
        Studio(tmp_path).held(),
    ):
        pass


async def _pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_a_full_disk_keeps_what_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(tmp_path)
    upload = uploads.begin("clip", "a.mp4", 100)
    asyncio.run(uploads.append(upload, 0, _pieces(b"x" * 60)))

    async def no_room(write: Any, view: memoryview) -> int:
        if view == b"z":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(write(view))

    with monkeypatch.context() as patch:
        patch.setattr(uploads_module, "run_in_threadpool", no_room)
        with pytest.raises(RefusalError, match="disk is full") as refused:
            asyncio.run(uploads.append(upload, 60, _pieces(b"y" * 20, b"z")))
    assert refused.value.status == 507
    assert uploads.received(upload) == 80
    assert asyncio.run(uploads.append(upload, 80, _pieces(b"z" * 20))) == 100
    assert uploads.finish(upload).whole
    monkeypatch.setattr(uploads_module, "free_bytes", lambda _: KEPT_FREE + 10)
    with pytest.raises(RefusalError, match="too little"):
        uploads.begin("clip", "a.mp4", 11)
    uploads.begin("clip", "a.mp4", 10)


def test_old_uploads_are_removed(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    old, new = (uploads.begin("clip", "a.mp4", 3) for _ in range(2))
    asyncio.run(uploads.append(old, 0, _pieces(b"abc")))
    os.utime(tmp_path / f"{old.id}.json", (0, 0))
    uploads.remove_old()
    assert [path.stem for path in tmp_path.iterdir()] == [new.id]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, "consent-who"),
        ({"who": "self"}, "consent-agreed"),
        ({"who": "other", "agreed": True, "contact": "a@example.org"}, "consent-field"),
        ({"who": "self", "agreed": True, "expires": "soon"}, "consent-field"),
        ({"who": "self", "agreed": True, "expires": "2001-01-01"}, "consent-field"),
    ],
)
def test_a_consent_is_complete(values: dict[str, Any], code: str) -> None:
    with pytest.raises(RefusalError) as refused:
        make_consent("Anna", values, "0" * 64)
    assert refused.value.code == code


def test_a_consent_of_somebody_else() -> None:
    values = {
        "who": "other",
        "agreed": True,
        "attested_by": "Ben",
        "contact": "a@example.org",
        "uses": "news, training",
    }
    record = make_consent("Anna", values | {"date": "2026-01-02"}, "0" * 64)
    assert (record.kind, record.attested_by, record.uses) == ("consent", "Ben", ("news", "training"))
    assert record.date
    assert record.date.isoformat() == "2026-01-02"


@pytest.fixture
def anna(tmp_path: Path) -> Person:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "anna.avatar").write_bytes(b"an avatar")
    return Library(tmp_path).person("anna")


def test_a_text_is_said_and_never_a_file(anna: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "voices", lambda: [{"voice": "espeak", "languages": ["de"]}])
    studio = Studio(anna.root)
    form = {"speech": films.TEXT, "text": "/etc/passwd", "voice": "espeak", "language": "de", "captions": "srt"}
    job = studio.queue.add(films.film_job(studio, anna, form | {"emotion": "happy:0.4"}))
    assert (job["kind"], job["text"], job["emotion"]) == ("say", "anna/texts/etc-passwd.txt", "happy:0.4")
    assert (anna.root / job["text"]).read_text() == "/etc/passwd"
    assert make_plan(studio.queue.path)[1] == []
    assert command_of(job).startswith(
        "avatar say anna/anna.avatar anna/texts/etc-passwd.txt -o anna/films/etc-passwd.mp4"
    )
    for changes, code in (
        ({"text": " "}, "no-text"),
        ({"language": "en"}, "no-voice"),
        ({"voice": "command:rm"}, "no-voice"),
    ):
        with pytest.raises(RefusalError) as refused:
            films.film_job(studio, anna, form | changes)
        assert refused.value.code == code
    with pytest.raises(UserError, match="emotion 'glad'"):
        films.film_job(studio, anna, form | {"emotion": "glad"})


def test_forms_become_jobs(anna: Person) -> None:
    studio = Studio(anna.root)
    (anna.folder / "clip.mp4").write_bytes(b"a clip")
    (anna.folder / "person.json").write_text('{"name": "Anna", "clip": "clip.mp4"}')
    (anna.folder / "backgrounds").mkdir()
    (anna.folder / "backgrounds" / "sea.png").write_bytes(b"a picture")
    looks: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"output": "anna/films/film.mp4"}),
        ({"background": "full"}, {"full_frame": True}),
        ({"background": "transparent"}, {"background": "transparent", "output": "anna/films/film.webm"}),
        (
            {"background": "file", "value": "sea.png", "size": "large"},
            {"background": "anna/backgrounds/sea.png", "size": 1024},
        ),
        ({"footage": True}, {"kind": "dub", "video": "anna/clip.mp4"}),
    ]
    for form, expects in looks:
        job = films.film_job(studio, anna, form)
        check_job(job)
        assert expects.items() <= job.items()
    for form in ({"background": "file", "value": "../anna.avatar"}, {"background": "colour", "value": "x.png"}):
        with pytest.raises(RefusalError):
            films.film_job(studio, anna, form)


def test_a_person_of_loose_files(tmp_path: Path) -> None:
    """What `avatar build me.mp4 -o me.avatar` leaves in the library's folder itself is one person."""
    (tmp_path / "me.avatar").write_bytes(b"an avatar")
    (tmp_path / "me.take").mkdir()
    (tmp_path / "me.take" / "take.json").write_text("{}")
    (tmp_path / "other.batch").mkdir()
    library = Library(tmp_path)
    [person] = library.people()
    assert (person.key, [path.name for path in person.avatars]) == ("me", ["me.avatar"])
    library.remove(person)
    assert [path.name for path in tmp_path.iterdir()] == ["other.batch"]
