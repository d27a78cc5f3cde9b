"""The one training loop: a renderer, a take, a budget."""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avatar.core.eyes import are_shut
from avatar.core.files import UserError, whole
from avatar.core.motion_space import Motion
from avatar.core.take import Take, Track, read_frames, read_mattes, read_plate
from avatar.render.base import Renderer, random_generator
from avatar.render.exposure import Exposure
from avatar.render.losses import matte_loss, mouth_weights, picture_loss, pixel_weights

MATTE_WEIGHT = 0.1
FINE_MOUTH = 6.0  # what the mouth's pixels count more in the last stage
SNAPSHOT_SECONDS = 30.0
GLIMPSE_SECONDS = 10.0
HARD_SHARE = 0.2  # of the frames, seen twice an epoch
BLINK_SHARE, MOST_BLINKS = 0.06, 10  # of the frames of an epoch; times each
MEAN_SHARE, MEAN_EVERY = 0.15, 8  # the last part of the budget, whose tensors are averaged; steps
CACHE_BYTES = 700_000_000  # decoded pictures kept in memory; longer clips are decoded as they are needed


def blend(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """Premultiplied rgb [3, S, S] over a background [3, S, S], all 0..1; differentiable."""
    return torch.addcmul(rgb, 1 - alpha, background)


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept from time to time, and what tells it from another run."""

    path: Path
    key: str


@dataclass(frozen=True)
class Schedule:
    """What a training does when."""

    steps: int | None = None  # to take in place of a time, so that the result does not depend on the machine's load
    mouth_from: float = 1.0  # share after which the mouth counts much more
    part: tuple[float, float] = (0.0, 1.0)  # of a longer training, that this one is

    def share(self, seconds: float, budget: float, steps: int) -> float:
        """How much of it is over, 1 at its end."""
        return steps / self.steps if self.steps else seconds / budget

    @property
    def whole(self) -> bool:
        """Whether this training is all there is; a part hands on its optimizer, which a mean would end."""
        return self.part == (0.0, 1.0)

    def progress(self, share: float) -> float:
        """How much of the longer training is over."""
        first, last = self.part
        return first + share * (last - first)


@dataclass(frozen=True)
class Example:
    """One frame to learn from."""

    frame: int
    epoch: int
    image: Tensor  # [3, S, S] 0..1
    matte: Tensor  # [1, S, S] 0..1
    weight: Tensor  # [1, S, S]
    mouth: Tensor  # [1, S, S] 1 in the mouth


@dataclass(frozen=True)
class TrainingSnapshot:
    """A training at some moment."""

    seconds: float
    loss: float  # mean since the last
    drawn: Tensor  # [3, S, S] 0..1, the frame at hand
    truth: Tensor  # [3, S, S]


def train(
    renderer: Renderer,
    take: Take,
    track: Track,
    *,
    budget_seconds: float,
    seed: int,
    schedule: Schedule | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[float, float], None] | None = None,
    watch: Callable[[TrainingSnapshot], None] | None = None,
) -> list[float]:
    """Fit a renderer to the training frames of a take until the budget is spent; returns the loss of each step.
    With a checkpoint, a killed run goes on where it was last written. `progress(share of the budget, loss)` is called
    at every step, `watch` every ten seconds. A step that is not finite is undone from the last snapshot; three in a row
    end the run. Raises: UserError when training cannot go on.
    """
    motion = track.motion()
    plate = (read_plate(take).permute(2, 0, 1).float() / 255).to(renderer.device)
    losses: list[float] = []
    schedule = schedule or Schedule()
    start = snapshot_time = seen_at = time.monotonic()
    seen = taken = 0
    begun = _go_on(renderer, checkpoint)
    snapshot, failures, exposure = renderer.tensors(), 0, Exposure(len(motion))
    hardest, mean = Hardest(), RunningMean()
    for example in _examples(take, track, seed, hardest):
        share = begun + schedule.share(time.monotonic() - start, budget_seconds, taken)
        taken += 1
        if share >= 1:
            break
        focused = _focus(example, share >= schedule.mouth_from)
        advance = schedule.progress(share)
        value, drawn = _step(renderer, motion, focused, exposure, plate, advance)
        if not math.isfinite(value):
            failures += 1
            if failures > 3:
                raise UserError("training became unstable and could not be recovered; lower the rates in the recipe")
            renderer.restore(snapshot)
            continue
        losses.append(value)
        hardest.tell(example, value)
        if schedule.whole and share > 1 - MEAN_SHARE and len(losses) % MEAN_EVERY == 0:
            mean.add(renderer.tensors())
        if time.monotonic() - snapshot_time > SNAPSHOT_SECONDS:
            snapshot, snapshot_time, failures = renderer.tensors(), time.monotonic(), 0
            if checkpoint:
                _write(checkpoint, snapshot, share)
        if progress:
            progress(share, value)
        if watch and time.monotonic() - seen_at > GLIMPSE_SECONDS:
            seen_at = time.monotonic()
            watch(TrainingSnapshot(seen_at - start, sum(losses[seen:]) / len(losses[seen:]), drawn, example.image))
            seen = len(losses)
    if mean.count:
        renderer.restore(mean.tensors)
    if not losses:
        raise UserError(f"the budget of {budget_seconds:g} s is too short for one training step; give more")
    if checkpoint:
        checkpoint.path.unlink(missing_ok=True)
    return losses


class RunningMean:
    """The mean of tensors seen so far."""

    def __init__(self) -> None:
        self.count, self.tensors = 0, dict[str, Tensor]()

    def add(self, tensors: dict[str, Tensor]) -> None:
        self.count += 1
        if self.count == 1:
            self.tensors = tensors
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 / self.count)
            else:
                self.tensors[name] = tensor


class Hardest:
    """Which frames were learned worst, told epoch by epoch."""

    def __init__(self) -> None:
        self._losses: dict[int, dict[int, float]] = {}  # epoch -> frame -> loss

    def tell(self, example: Example, loss: float) -> None:
        self._losses.setdefault(example.epoch, {})[example.frame] = loss

    def frames(self, epoch: int) -> list[int]:
        """A share of all frames, those with the largest loss two epochs before: the last is not complete yet."""
        known = self._losses.pop(epoch - 2, {})
        return sorted(known, key=lambda frame: -known[frame])[: int(HARD_SHARE * len(known))]


def _focus(example: Example, on_mouth: bool) -> Example:
    return replace(example, weight=example.weight + FINE_MOUTH * example.mouth) if on_mouth else example


def _step(
    renderer: Renderer, motion: Motion, example: Example, exposure: Exposure, plate: Tensor, share: float
) -> tuple[float, Tensor]:
    """One step; returns its loss, not a number when the step could not be taken, and what was drawn [3, S, S]."""
    try:
        rgb, alpha = renderer.render(motion, range(example.frame, example.frame + 1))
    except ValueError:  # the rasterizer refuses parameters that are not finite
        return math.nan, example.image
    truth, matte, weight = (part.to(rgb.device) for part in (example.image, example.matte, example.weight))
    plain = blend(rgb[0], alpha[0], plate)
    image = exposure.gain(example.frame).to(rgb.device) * plain
    loss = picture_loss(image, truth, weight) + MATTE_WEIGHT * matte_loss(alpha[0], matte)
    value = loss.item()
    if math.isfinite(value):
        try:
            loss.backward()
        except torch.cuda.OutOfMemoryError:
            if not renderer.reduce_memory():
                raise
            return _step(renderer, motion, example, exposure, plate, share)
        renderer.update(share)
        exposure.update(example.frame, plain.detach(), truth, share)
    return value, image.detach()


def _go_on(renderer: Renderer, checkpoint: Checkpoint | None) -> float:
    """Restore a checkpoint of the same run; returns the share of the budget already spent."""
    if checkpoint is None or not checkpoint.path.exists():
        return 0.0
    try:
        with safe_open(checkpoint.path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != checkpoint.key:
                return 0.0
            renderer.restore({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return float(metadata["share"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return 0.0  # a damaged checkpoint only costs time


def _write(checkpoint: Checkpoint, tensors: dict[str, Tensor], share: float) -> None:
    with whole(checkpoint.path) as temporary:
        save_file(tensors, temporary, {"key": checkpoint.key, "share": str(share)})


def blinks(track: Track, frames: list[int]) -> list[int]:
    """Frames with shut eyes, as often as makes them a share of all: there are few, and lids are looked at."""
    shut = [frame for frame, is_shut in zip(frames, are_shut(track.eyes[frames]).tolist(), strict=True) if is_shut]
    return shut * min(MOST_BLINKS, int(BLINK_SHARE * len(frames) / max(1, len(shut))))


def _examples(take: Take, track: Track, seed: int, hardest: Hardest) -> Iterator[Example]:
    """Endless examples in random order, the hardest of each epoch twice; decoded ahead in a thread."""
    frames = [frame for frame in take.training_frames() if track.confidence[frame] > 0.3]
    if not frames:
        raise UserError(f"{take.root}: no frame is left to train on; see its report.html")
    frames += blinks(track, frames)
    keep = CACHE_BYTES // (4 * take.camera.size**2)
    cache: dict[int, tuple[Tensor, Tensor]] = {}
    ready: queue.Queue[Example | Exception] = queue.Queue(maxsize=4)
    stop = threading.Event()

    def pictures(frame: int) -> tuple[Tensor, Tensor]:
        if frame in cache:
            return cache[frame]
        pair = read_frames(take, [frame])[0].permute(2, 0, 1).contiguous(), read_mattes(take, [frame])
        if len(cache) < keep:
            cache[frame] = pair
        return pair

    def produce() -> None:
        generator = random_generator(seed)
        try:
            for epoch in itertools.count():
                chosen = frames + hardest.frames(epoch)
                for index in torch.randperm(len(chosen), generator=generator).tolist():
                    image, matte = pictures(chosen[index])
                    landmarks = track.landmarks[chosen[index]]
                    weights = pixel_weights(landmarks, take.camera), mouth_weights(landmarks, take.camera)
                    example = Example(chosen[index], epoch, image.float() / 255, matte.float() / 255, *weights)
                    while not stop.is_set():
                        try:
                            ready.put(example, timeout=0.2)
                            break
                        except queue.Full:
                            continue
                    if stop.is_set():
                        return
        except Exception as error:
            ready.put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
