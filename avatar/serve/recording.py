"""Films of live sessions: what their viewers see and hear, in a folder of the server's."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from avatar.core.files import UserError
from avatar.motion.driver import FPS
from avatar.serve.engine import Frame
from avatar.serve.fragments import FragmentedMp4
from avatar.serve.hub import Session

LOG = logging.getLogger(__name__)
MOST_SECONDS = 3600.0  # of a film: whoever forgets to end it fills no disk


class Recordings:
    """The films that are being written, one of a session at a time. From any thread."""

    def __init__(self, folder: Path | None) -> None:
        """folder: None: nothing is recorded. Raises: UserError when it is none."""
        if folder is not None and not folder.is_dir():
            raise UserError(f"--recordings {folder}: is no folder; make it first")
        self._folder, self._films, self._lock = folder, dict[str, _Film](), threading.Lock()

    def start(self, session: Session) -> Path:
        """Record a session from its next frame on; where to.

        Raises: UserError when nothing is recorded here, the client draws, or it is being recorded already.
        """
        if self._folder is None:
            raise UserError("recordings are not offered; `avatar serve --recordings FOLDER` does")
        if not session.client.drawn:
            raise UserError("a session that its client draws cannot be recorded here")
        with self._lock:
            if session.id in self._films:
                raise UserError("the session is being recorded already")
            name = f"{session.avatar}-{time.strftime('%Y%m%d-%H%M%S')}-{session.id[:6]}.mp4"
            film = self._films[session.id] = _Film(session, self._folder / name)

        def end(_: str) -> None:
            self._drop(session)

        session.observers.append(film.take)
        session.endings.append(end)
        return film.path

    def stop(self, session: Session) -> Path:
        """End a session's film; where it is. Raises: UserError when none is written."""
        if (film := self._drop(session)) is None:
            raise UserError("the session is not being recorded")
        return film.path

    def _drop(self, session: Session) -> _Film | None:
        with self._lock:
            film = self._films.pop(session.id, None)
        if film is not None:
            film.close()
            if film.take in session.observers:
                session.observers.remove(film.take)
        return film


class _Film:
    def __init__(self, session: Session, path: Path) -> None:
        self.path, self._first, self._lock = path, -1, threading.Lock()
        self._coder = FragmentedMp4(*session.shape, session.live.rate)
        try:
            self._file = path.open("xb")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; nothing is recorded") from error

    def take(self, frame: Frame) -> None:
        """Write a frame; the first one needs a picture."""
        with self._lock:
            if self._file.closed or (self._first < 0 and frame.picture is None):
                return
            self._first = frame.played.index if self._first < 0 else self._first
            index = frame.played.index - self._first
            try:
                self._file.write(self._coder.encode(frame.picture, frame.played.sound, index))
            except OSError as error:  # a full disk; the session goes on
                LOG.warning("a recording ended", extra={"file": self.path.name, "reason": str(error)})
                self._file.close()
            if index >= MOST_SECONDS * FPS:
                self._file.close()

    def close(self) -> None:
        with self._lock:
            self._file.close()
