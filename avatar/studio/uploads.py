"""Uploads: streamed to disk in pieces, resumable, whole or not used. What a file is called is ours."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from avatar.batch.attempt import is_full
from avatar.batch.machine import free_bytes
from avatar.core.files import UserError, remove, whole
from avatar.presenter.package import check_kind
from avatar.studio.errors import RefusalError, not_found

PIECE = 4_000_000  # bytes that the page sends at a time: what a lost connection loses at most
MOST_BYTES = 4_000_000_000  # of a file, by default: an hour of 1080p
KEPT_FREE = 500_000_000  # bytes of the disk that uploads leave: a Take, an avatar and some films
OLD_SECONDS = 7 * 86400.0  # after which an upload that nobody came back to is removed
ENDINGS = {
    "clip": (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".jpg", ".jpeg", ".png", ".webp", ".heic"),
    "speech": (".wav", ".mp3", ".m4a", ".ogg", ".opus", ".flac", ".webm", ".mp4", ".mov", ".aac", ".aiff"),
    "background": (".jpg", ".jpeg", ".png", ".webp", ".gif", ".mp4", ".mov", ".webm"),
    "deck": (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".pdf", ".md", ".markdown", ".zip"),
    "verify": (".mp4", ".mov", ".webm", ".mkv", ".jpg", ".jpeg", ".png", ".webp", ".wav", ".mp3", ".m4a"),
}
"""By kind of upload. An ending is a hint for ffmpeg at most; what is in a file is looked at in a child process."""
ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Upload:
    """A file that is on its way, or has come."""

    id: str
    kind: str
    name: str  # as its owner calls it, to be shown
    ending: str
    size: int | None  # bytes; None: not known before the end, as of a recording
    whole: bool = False


class Uploads:
    """The uploads of a library, in a hidden folder of it."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    def begin(self, kind: str, name: str, size: int | None) -> Upload:
        """Announce a file. Raises: RefusalError when it is too large, of no use, or there is no room for it."""
        ending = Path(name[-40:]).suffix.lower()
        if kind == "deck":
            _check_deck(name, ending)
        if ending not in ENDINGS.get(kind, ()):
            usual = ", ".join(ENDINGS.get(kind, ()))
            raise RefusalError("ending", f"files of this kind cannot be used here; give {usual}", usual=usual)
        if size is not None and size <= 0:
            raise RefusalError("empty", "the file is empty; choose another")
        if (size or 0) > self.most_bytes:
            raise self._too_large()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_room(size or PIECE)
        upload = Upload(secrets.token_hex(8), kind, Path(name[-200:]).name[:80], ending, size)
        self._write(upload)
        return upload

    def find(self, id: str) -> Upload:
        """The upload of an id. Raises: RefusalError."""
        if not ID.fullmatch(id):
            raise not_found("the upload")
        try:
            return Upload(**json.loads((self.folder / f"{id}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise not_found("the upload") from None

    def path(self, upload: Upload) -> Path:
        """Where its bytes are."""
        return self.folder / f"{upload.id}{upload.ending}"

    def received(self, upload: Upload) -> int:
        """Bytes that have come, which are the file's first."""
        path = self.path(upload)
        return path.stat().st_size if path.is_file() else 0

    async def append(self, upload: Upload, offset: int, pieces: AsyncIterator[bytes]) -> int:
        """Add bytes at the end; returns how many there are. What has come before an error stays.

        Raises: RefusalError when they belong elsewhere, are too many, or the disk is full.
        """
        have = self.received(upload)
        if upload.whole or offset != have:
            raise RefusalError("offset", f"{have} bytes have come; go on there", 409, received=have)
        limit = min(self.most_bytes, upload.size if upload.size is not None else self.most_bytes)
        self._check_room(PIECE)
        try:
            with self.path(upload).open("ab", buffering=0) as file:
                async for piece in pieces:
                    if have + len(piece) > limit:
                        raise self._too_large()
                    view = memoryview(piece)
                    while view:
                        written = await run_in_threadpool(file.write, view)
                        have, view = have + (written or 0), view[written:]
        except OSError as error:
            if is_full(error):
                raise RefusalError("disk", "the disk is full; make room, then the upload goes on", 507) from error
            raise
        return have

    def finish(self, upload: Upload) -> Upload:
        """Note that all has come. Raises: RefusalError when bytes are missing."""
        have = self.received(upload)
        if have == 0 or (upload.size is not None and have != upload.size):
            raise RefusalError(
                "offset", f"{have} bytes have come, {upload.size} were announced; go on", 409, received=have
            )
        done = Upload(**asdict(upload) | {"size": have, "whole": True})
        self._write(done)
        return done

    def take(self, id: str, kind: str) -> Upload:
        """An upload that is to be used for something. Raises: RefusalError when it is not whole, or of another kind."""
        upload = self.find(id)
        if not upload.whole or upload.kind != kind:
            raise RefusalError("not-whole", "the file has not come as a whole yet; let the upload end", 409)
        return upload

    def remove(self, upload: Upload) -> None:
        """Remove an upload with all that was found in it."""
        for path in self.folder.glob(f"{upload.id}*"):
            remove(path)

    def remove_old(self) -> None:
        """Remove what nobody came back to."""
        for path in self.folder.glob("*.json") if self.folder.is_dir() else ():
            if ID.fullmatch(path.stem) and time.time() - path.stat().st_mtime > OLD_SECONDS:
                self.remove(Upload(path.stem, "", "", "", None))
        for path in self.folder.glob("said-*.wav") if self.folder.is_dir() else ():
            remove(path)  # of previews

    def _write(self, upload: Upload) -> None:
        with whole(self.folder / f"{upload.id}.json") as temporary:
            temporary.write_text(json.dumps(asdict(upload)), encoding="utf-8")

    def _too_large(self) -> RefusalError:
        most = f"{self.most_bytes / 1e9:g} GB"
        return RefusalError(
            "too-large", f"the file is larger than {most}; cut it, or start with --upload-limit", 413, most=most
        )

    def _check_room(self, size: int) -> None:
        if (free := free_bytes(self.folder)) - size < KEPT_FREE:
            text = f"the disk has {free / 1e9:.1f} GB left, which is too little; make room and try again"
            raise RefusalError("disk", text, 507, free=f"{free / 1e9:.1f} GB")


def _check_deck(name: str, ending: str) -> None:
    """Say how a deck is converted that is not read. Raises: RefusalError."""
    try:
        check_kind(Path(name))
    except UserError as error:
        raise RefusalError(f"convert-{ending[1:]}", str(error)) from error
