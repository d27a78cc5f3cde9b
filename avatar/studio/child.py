"""A process of the studio's own for what may take long, or looks into a file that somebody sent: with limits.

    python -m avatar.studio.child TASK REQUEST.json RESULT.json

The result is {"error": text} for what a person can mend. It ends when the studio does.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avatar.core.files import UserError, whole
from avatar.core.notes import warnings_as_notes

MOST_MEMORY, MOST_FILE = 6 << 30, 4 << 30  # bytes: a Take of a few seconds needs 1.5 GB; the largest upload's size
MOST_CPU = 900  # s

Answer = tuple[dict[str, Any], bytes]
"""A part of an answer of a helper: plain values, and bytes."""
Task = Callable[[dict[str, Any]], dict[str, Any]]


def limit_process(cpu_seconds: int = MOST_CPU) -> None:
    """Give this process limits, and end it with its encoders when stdin ends, as it does when the studio is killed."""
    for what, most in (
        (resource.RLIMIT_DATA, MOST_MEMORY),
        (resource.RLIMIT_FSIZE, MOST_FILE),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def end_with_stdin() -> None:
    """End this process group when stdin ends."""

    def watch() -> None:
        while os.read(0, 4096):  # not by sys.stdin, whose lock would be held at the end
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _check(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.studio.checking import check_clip

    return check_clip(Path(request["file"]), Path(request["folder"]))


def _check_sound(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.studio.checking import check_sound

    return check_sound(Path(request["file"]))


def _check_background(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.studio.checking import check_background

    return check_background(Path(request["file"]))


def _take_deck(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.studio.deck_files import take_deck

    return take_deck(Path(request["file"]), request["name"], Path(request["folder"]))


def _film_actor(request: dict[str, Any]) -> dict[str, Any]:
    from preprocess.actor import film_actor

    with whole(Path(request["file"])) as temporary:
        film_actor(temporary, seconds=float(request["seconds"]))
    return {}


def _verify(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.provenance import verify
    from avatar.provenance.keys import ROOT, keys_folder

    own = keys_folder() / ROOT
    roots = verify.read_roots([own] if own.is_file() else [])
    return verify.verify(Path(request["file"]), roots=roots, logged=True).to_json()


def _blur(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.studio.checking import blur_plate

    blur_plate(Path(request["avatar"]), Path(request["file"]))
    return {}


def _say(request: dict[str, Any]) -> dict[str, Any]:
    from avatar.pipelines.say import Saying, record
    from avatar.voice.engines import VoiceChoice
    from avatar.voice.script import read_script

    saying = Saying(request["text"], VoiceChoice(request["voice"], request["language"] or None))
    with whole(Path(request["file"])) as temporary:
        made = record(saying, read_script(saying.source), temporary)
    return {"seconds": made.seconds}


TASKS: dict[str, Task] = {
    "clip": _check,
    "speech": _check_sound,
    "background": _check_background,
    "deck": _take_deck,
    "actor": _film_actor,
    "verify": _verify,
    "blur": _blur,
    "say": _say,
}


def main() -> None:
    """Do the task of the command line."""
    task, request, result = sys.argv[1:4]
    limit_process()
    end_with_stdin()
    notes: list[str] = []
    try:
        with warnings_as_notes(notes.append):
            found = TASKS[task](json.loads(Path(request).read_text(encoding="utf-8")))
    except UserError as error:
        found = {"error": " ".join(str(error).split())}
    except MemoryError:
        found = {"error": "it needs too much memory; give a smaller one"}
    except OSError as error:
        found = {"error": f"{error.strerror or error}"}
    with whole(Path(result)) as temporary:
        temporary.write_text(json.dumps(found | {"notes": notes}), encoding="utf-8")


if __name__ == "__main__":
    main()
