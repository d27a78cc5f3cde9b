"""A live avatar inside a program of one's own: no server, one session, frames at the pace of their sound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import torch

from avatar.core.label import Label
from avatar.core.threads import torch_threads
from avatar.motion.batched_speech import BatchedSpeech, mouth_motion
from avatar.motion.driver import LIVE_WINDOW
from avatar.motion.speech_to_motion import open_speech_model
from avatar.play.player import Player
from avatar.play.shared_drawing import SharedDrawing
from avatar.serve.engine import PERIOD, STALL, Frame
from avatar.serve.live_avatar import LiveAvatar


class LocalAvatar:
    """One session: push sound into `live`, and take frames."""

    def __init__(self, player: Player, *, rate: int = 24000, live: bool = False, label: Label | None = None) -> None:
        """label: `eu` by default. Raises: UserError for another rate than `RATES`, or a look that is not live."""
        self._drawing = SharedDrawing(player.avatar, player.canvas)
        self.live = LiveAvatar(player.driver(LIVE_WINDOW), rate=rate, live=live)
        self.shape = player.shape
        self._view = self._drawing.open_view(mark=player.mark, label=label or Label("eu"))
        self._speech, self._number = BatchedSpeech([open_speech_model(player.avatar.speech)], torch.device("cpu")), 0
        self._stream = self._speech.open(0)

    def frame(self) -> Frame:
        """The next frame, whose picture is [3 H / 2, W] uint8, NV12; a tenth of a second of work at most."""
        with torch_threads(1), torch.no_grad():
            due = self.live.next_hops()
            if due.stream != self._number:
                self._stream, self._number = self._speech.open(0), due.stream
            rows = self._speech.push([(self._stream, hop) for hop in due.hops])
            played = self.live.next_frame([mouth_motion(hop, row) for hop, row in zip(due.hops, rows, strict=True)])
            (picture,) = self._drawing.draw([played.motion], [self._view])
        return Frame(played, self._view.finish(picture))

    async def frames(self) -> AsyncIterator[Frame]:
        """Frames without an end, each as its time comes; while the program is behind, the clock waits."""
        due = time.monotonic()
        while True:
            yield await asyncio.to_thread(self.frame)
            due += PERIOD
            now = time.monotonic()
            due = now if now - due > STALL else due
            await asyncio.sleep(max(0.0, due - now))
