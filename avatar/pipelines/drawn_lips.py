"""Lips of the picture: speech moves the mouth as far as it takes for the drawn one to move as far as the filmed one."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatar.core.avatar_file import Avatar
from avatar.core.controls import Controls
from avatar.core.lips import seen_lip_positions
from avatar.core.take import Take, read_frames
from avatar.play.player import Player, motion_of_take
from avatar.render.device import DeviceName
from preprocess.trackers import detect

FRAMES = 80  # of the training part: the ratio of deviations is known to 5 %, for 4 s of one core
LEAST_FRAMES = 20
LEAST_CORRELATION = 0.5  # of drawn and filmed positions: below, a ratio is of the detector's noise
RATIO = (0.8, 1.4)  # beyond it something else is wrong


def match_drawn_lips(avatar: Avatar, take: Take, device: DeviceName = "auto") -> Avatar:
    """The avatar with gains of its lips such that drawn ones move as far as filmed ones, for the same motion.

    A renderer smooths quick lips, and what a viewer sees of a gap is less than the mesh's. Measured by the landmarks of
    frames that were trained on, drawn and filmed. Unchanged where the speech model has no range of lips.
    """
    lips, frames = avatar.speech.lips, take.training_frames()
    if lips is None or len(frames) < LEAST_FRAMES:
        return avatar
    chosen = torch.tensor(frames)[torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().long()]
    player = Player(avatar, controls=Controls(), device=device, mark="none")
    drawn, drawn_found = detect(player.reenact(motion_of_take(avatar, take)[chosen]))
    filmed, filmed_found = detect(read_frames(take, chosen.tolist()).numpy())
    both = drawn_found & filmed_found
    if int(both.sum()) < LEAST_FRAMES:
        return avatar
    ours, theirs = seen_lip_positions(drawn[both]), seen_lip_positions(filmed[both])
    ratio = (theirs.std(0) / ours.std(0).clamp_min(1e-6)).clamp(*RATIO)
    alike = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(ours.T, theirs.T, strict=True)])
    ratio[~(alike >= LEAST_CORRELATION)] = 1.0
    return replace(avatar, speech=replace(avatar.speech, lips=replace(lips, gain=lips.gain * ratio)))
