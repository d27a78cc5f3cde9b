"""Fit the sync expert: canonical correlations of the encoder's outputs and real people's mouths, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.core.sync import move_sound
from avatar.core.take import Take, read_audio, read_track
from avatar.motion.articulation import encode_sound
from avatar.motion.regression_inputs import splice
from avatar.motion.sync import (
    FPS,
    LIDS,
    MOUTH_REACH,
    SEARCHED,
    SOUND_REACH,
    SyncExpert,
    certainty_terms,
    find_peaks,
    likeness_curves,
)

PAIRS = 8  # more correlate too little in people who were left out
SOUND_RIDGE, MOUTH_RIDGE = 0.3, 0.03  # of columns of unit variance
MOST_FRAMES = 500  # of one person: 20 s, so that nobody counts many times
FOLDS = 6  # of people, each measured by what the others gave
ROUNDS = 3  # of finding each clip's own lag by the others, which moves no clip by .1 frames after two
SECONDS = (1.0, 2.0, 3.0, 5.0, 10.0)  # of the windows that certainty is fitted on
LOGISTIC_STEPS, LOGISTIC_RIDGE = 50, 1e-5
OTHER_SOUNDS = 6  # of other people, that each is measured with
SEEN = 0.3  # confidence of the tracker from which a face counts


@dataclass(frozen=True)
class SyncClip:
    """One person's sound, as it was recorded, and mouth."""

    name: str
    encoded: Tensor  # [T, 168] of `encode_sound`
    expression: Tensor  # [T, K]
    seen: Tensor  # [T] bool


@dataclass(frozen=True)
class _Moments:
    """Second moments of one clip's spliced columns, about their means."""

    count: int
    sound: Tensor
    mouth: Tensor
    cross: Tensor


def make_sync_clip(take: Take) -> SyncClip:
    """A Take's mouth beside the sound of its recording, as it was before it was put in time."""
    recorded = move_sound(read_audio(take), -take.quality.get("sound_moved_seconds", 0.0))
    track, encoded = read_track(take), encode_sound(recorded)
    count = min(len(track), len(encoded))
    seen = torch.zeros(len(track), dtype=torch.bool)
    seen[take.training_frames() + list(take.test)] = True
    seen &= track.confidence > SEEN
    name = take.source.get("name", take.root.name)
    return SyncClip(name, encoded[:count], track.expression[:count], seen[:count])


def fit_sync_expert(clips: Sequence[SyncClip], more: Sequence[SyncClip] = ()) -> SyncExpert:
    """Fit the expert to clips, one a person.

    more: people who count in the reference alone, the median of everybody's own offset, and in nothing else.
    """
    lags = [0.0] * len(clips)
    experts: list[SyncExpert] = []
    for _ in range(ROUNDS):
        experts = _leave_out([_moments(clip, lag) for clip, lag in zip(clips, lags, strict=True)])
        raw = torch.stack([raw_offset(expert, clip) for expert, clip in zip(experts, clips, strict=True)])
        lags = (raw - raw.median()).tolist()
    expert = _solve(_sum([_moments(clip, lag) for clip, lag in zip(clips, lags, strict=True)]))
    own = torch.stack([raw_offset(expert, clip) for clip in (*clips, *more)])
    return replace(expert, reference=own.quantile(0.5), logistic=_fit_certainty(experts, clips))


def raw_offset(expert: SyncExpert, clip: SyncClip) -> Tensor:
    """Frames [] by which a whole clip's sound is late, without the expert's reference."""
    sound, mouth = expert.embed_sound(clip.encoded), expert.embed_mouth(clip.expression)
    return find_peaks(likeness_curves(sound, mouth, clip.seen, expert.weight, [slice(0, len(mouth))]))[0][0]


def _moments(clip: SyncClip, lag: float) -> _Moments:
    """Of a clip whose sound is moved by `lag` frames, between frames linearly."""
    count = len(clip.expression)
    position = torch.arange(count) + lag
    inside = (position >= 0) & (position <= count - 1) & clip.seen
    low = position.floor().long().clamp(0, count - 2)
    part = (position - low)[:, None]
    encoded = clip.encoded.double()
    moved = encoded[low] * (1 - part) + encoded[low + 1] * part
    sound = splice(moved, SOUND_REACH)[inside][:MOST_FRAMES]
    mouth = splice(clip.expression[:, LIDS:].double(), MOUTH_REACH)[inside][:MOST_FRAMES]
    sound, mouth = sound - sound.mean(0), mouth - mouth.mean(0)
    return _Moments(len(sound), sound.T @ sound, mouth.T @ mouth, sound.T @ mouth)


def _sum(parts: Sequence[_Moments]) -> _Moments:
    sound, mouth, cross = (sum(getattr(part, name) for part in parts) for name in ("sound", "mouth", "cross"))
    return _Moments(
        sum(part.count for part in parts), torch.as_tensor(sound), torch.as_tensor(mouth), torch.as_tensor(cross)
    )


def _leave_out(parts: Sequence[_Moments]) -> list[SyncExpert]:
    """For each clip, the expert that the people of the other folds give."""
    experts = [_solve(_sum([part for i, part in enumerate(parts) if i % FOLDS != fold])) for fold in range(FOLDS)]
    return [experts[i % FOLDS] for i in range(len(parts))]


def _solve(total: _Moments) -> SyncExpert:
    """Canonical correlations with ridges: the singular values of the whitened cross moments."""
    scale_sound = (total.sound.diagonal() / total.count).sqrt() + 1e-6
    scale_mouth = (total.mouth.diagonal() / total.count).sqrt() + 1e-6
    sound = total.sound / total.count / scale_sound[:, None] / scale_sound
    mouth = total.mouth / total.count / scale_mouth[:, None] / scale_mouth
    cross = total.cross / total.count / scale_sound[:, None] / scale_mouth
    root_sound = torch.linalg.cholesky(sound + SOUND_RIDGE * torch.eye(len(sound), dtype=sound.dtype))
    root_mouth = torch.linalg.cholesky(mouth + MOUTH_RIDGE * torch.eye(len(mouth), dtype=mouth.dtype))
    whitened = torch.linalg.solve_triangular(root_sound, cross, upper=False)
    whitened = torch.linalg.solve_triangular(root_mouth, whitened.T, upper=False).T
    left, values, right = torch.linalg.svd(whitened, full_matrices=False)
    to_sound = torch.linalg.solve_triangular(root_sound.T, left[:, :PAIRS], upper=True) / scale_sound[:, None]
    to_mouth = torch.linalg.solve_triangular(root_mouth.T, right[:PAIRS].T, upper=True) / scale_mouth[:, None]
    weight = values[:PAIRS].square()
    nothing = torch.zeros((), dtype=weight.dtype)
    return SyncExpert(to_sound, to_mouth, weight / weight.sum(), nothing, nothing.expand(4).clone())


def _fit_certainty(experts: Sequence[SyncExpert], clips: Sequence[SyncClip]) -> Tensor:
    """Logistic regression [4] of «this sound» against «another sound», each clip by the expert of the others."""
    terms, right = [], []
    for index, (expert, clip) in enumerate(zip(experts, clips, strict=True)):
        for offset in range(OTHER_SOUNDS + 1):
            other = clips[(index + offset) % len(clips)]
            likeness, seconds = window_likeness(expert, other, clip)
            terms.append(certainty_terms(likeness, seconds))
            right.append(torch.full_like(likeness, float(offset == 0)))
    return _logistic(torch.cat(terms), torch.cat(right))


def window_likeness(expert: SyncExpert, sound: SyncClip, mouth: SyncClip) -> tuple[Tensor, Tensor]:
    """Best likeness [N] of windows of one clip's mouth with another's sound, and their seconds [N]."""
    count, parts = min(len(sound.encoded), len(mouth.expression)), []
    for seconds in SECONDS:
        width = round(seconds * FPS)
        parts += [slice(start, start + width) for start in range(SEARCHED, count - width - SEARCHED, width)]
    parts = [part for part in parts if mouth.seen[part].double().mean() > 0.9]
    if not parts:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    curves = likeness_curves(
        expert.embed_sound(sound.encoded)[:count],
        expert.embed_mouth(mouth.expression)[:count],
        mouth.seen[:count],
        expert.weight,
        parts,
    )
    return find_peaks(curves)[1], torch.tensor([(part.stop - part.start) / FPS for part in parts], dtype=torch.float64)


def _logistic(terms: Tensor, right: Tensor) -> Tensor:
    """Newton's method; both answers count as much together."""
    share = right.mean()
    weight = torch.where(right > 0, 0.5 / share, 0.5 / (1 - share)) / len(right)
    found = torch.zeros(terms.shape[1], dtype=terms.dtype)
    for _ in range(LOGISTIC_STEPS):
        likely = (terms @ found).sigmoid()
        gradient = terms.T @ (weight * (likely - right)) + LOGISTIC_RIDGE * found
        curvature = (terms * (weight * likely * (1 - likely))[:, None]).T @ terms
        found = found - torch.linalg.solve(
            curvature + LOGISTIC_RIDGE * torch.eye(len(found), dtype=terms.dtype), gradient
        )
    return found
