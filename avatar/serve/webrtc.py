"""Sessions over WebRTC, by aiortc: a viewer that is a peer, and WHEP to make one."""

from __future__ import annotations

import asyncio
import logging
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.codecs import h264, vpx
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler, VideoFrame

from avatar.core.files import UserError
from avatar.motion.driver import FPS
from avatar.serve.engine import Frame
from avatar.serve.hub import Hub, RefusedError, Session
from avatar.serve.ice import Ice
from avatar.serve.live_avatar import MOST_SECONDS

LOG = logging.getLogger(__name__)
VIDEO_CLOCK = 90000  # Hz of RTP timestamps
HD_LINES = 720
PACKETS = 2  # of sound in a frame: Opus takes 20 ms at a time
MOST_WAITING = 10  # pieces that wait in a track; beyond, the oldest are left out
BITRATE = 1_500_000  # of video at first, b/s: aiortc's own .5 Mb/s blurs a face of 512 px; congestion lowers it
CODECS = ("video/VP8", "video/rtx", "video/H264")  # in order of preference: VP8 takes a third of H.264's time
CONNECT_SECONDS = 20.0  # that a peer has to connect
MOST_OFFER = 100_000  # characters


def raise_bitrates() -> None:
    """Let encoders begin at BITRATE; aiortc has no other way to say so."""
    for codec in (vpx, h264):
        vars(codec)["DEFAULT_BITRATE"] = BITRATE


class _Track(MediaStreamTrack):
    """Pieces that were put in, one after the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._pieces: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, piece: Any) -> None:
        """Give the next piece; from the loop's thread."""
        while self._pieces.qsize() >= MOST_WAITING:
            self._pieces.get_nowait()
        self._pieces.put_nowait(piece)

    async def recv(self) -> Any:
        if self.readyState != "live":
            raise MediaStreamError
        return await self._pieces.get()


class PeerViewer:
    """A session's frames as tracks of a peer connection."""

    def __init__(self, hub: Hub, session: Session, ice: Ice) -> None:
        self._hub, self.session, self._loop = hub, session, asyncio.get_running_loop()
        self._video, self._sound = _Track("video"), _Track("audio")
        servers = [RTCIceServer(**server) for server in ice.for_client()["iceServers"]]
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._tasks: set[asyncio.Task[None]] = set()
        self._peer.on("connectionstatechange", self._changed)
        self._peer.on("track", self._takes)

    async def answer(self, offer: str) -> str:
        """The answer to an SDP offer. Raises: UserError when it is none that can be answered."""
        if len(offer) > MOST_OFFER:
            raise UserError("offer: is larger than an SDP offer ever is")
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            kinds = {one.kind for one in self._peer.getTransceivers()}
            for track in (self._video, self._sound):
                if track.kind in kinds:
                    self._peer.addTrack(track)
            self._prefer()
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # aiortc raises what its parser stumbled over
            await self._peer.close()
            raise UserError("offer: is not an SDP offer that can be answered; send `RTCPeerConnection`'s") from error
        if "video" not in kinds:
            await self._peer.close()
            raise UserError("offer: asks for no video; add a transceiver of kind video")
        self._start(self._give_up())
        return str(self._peer.localDescription.sdp)

    def _prefer(self) -> None:
        known = RTCRtpSender.getCapabilities("video").codecs
        preferred = [codec for name in CODECS for codec in known if codec.mimeType == name]
        for transceiver in self._peer.getTransceivers():
            if transceiver.kind == "video":
                transceiver.setCodecPreferences(preferred)

    def show(self, frame: Frame) -> None:
        """Put a frame into the tracks."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, frame, *_pieces(frame, self.session.live.rate))

    def _put(self, frame: Frame, video: Any, sound: list[Any]) -> None:
        if video is not None:
            self._video.put(video)
        for piece in sound:
            self._sound.put(piece)

    def close(self, reason: str) -> None:
        """Close the connection."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._start(self._end()))

    def _start(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        for track in (self._video, self._sound):
            track.stop()
        await self._peer.close()

    async def _give_up(self) -> None:
        await asyncio.sleep(CONNECT_SECONDS)
        if self._peer.connectionState != "connected" and self.session.viewer is self:
            self._hub.close(self.session, "the peer did not connect")

    async def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed") and self.session.viewer is self:
            self._hub.close(self.session, f"its connection {self._peer.connectionState}")

    def _takes(self, track: Any) -> None:
        """Take a peer's own sound as the voice."""
        if track.kind == "audio":
            self._start(self._listen(track))

    async def _listen(self, track: Any) -> None:
        live = self.session.live
        resampler = AudioResampler(format="s16", layout="mono", rate=live.rate)
        try:
            while True:
                for piece in resampler.resample(await track.recv()):
                    samples = piece.to_ndarray()[0]
                    if live.buffered + len(samples) / live.rate <= MOST_SECONDS:
                        self.session.push(samples)
        except MediaStreamError:
            pass  # the peer has stopped it


def _pieces(frame: Frame, rate: int) -> tuple[Any, list[Any]]:
    """A frame as aiortc takes it: video, and sound of 20 ms each."""
    index, video = frame.played.index, None
    if frame.picture is not None:
        video = VideoFrame.from_ndarray(frame.picture, format="nv12")
        # VP8 cannot say which colours it has: below 720 lines players take those of BT.601
        matrix = "ITU601" if video.height < HD_LINES else "ITU709"
        video = video.reformat(format="yuv420p", src_colorspace="ITU709", dst_colorspace=matrix, threads=1)
        video.pts, video.time_base = round(index * VIDEO_CLOCK / FPS), Fraction(1, VIDEO_CLOCK)
    sound = []
    for number, samples in enumerate(np.split(frame.played.sound, PACKETS)):
        piece = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
        piece.pts = (index * PACKETS + number) * len(samples)
        sound.append(piece)
    return video, sound


async def connect(hub: Hub, session: Session, ice: Ice, offer: str) -> str:
    """Show a session to a peer; the SDP answer. Raises: RefusedError when it has a viewer; UserError."""
    if session.viewer is not None:
        raise RefusedError(409, "the session is shown elsewhere; open another")
    viewer = PeerViewer(hub, session, ice)
    answer = await viewer.answer(offer)
    try:
        hub.attach(session, viewer)
    except RefusedError:
        viewer.close("the session is shown elsewhere")
        raise
    return answer
