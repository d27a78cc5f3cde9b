"""Frames that training must leave out: cuts, captions, hands, and those it has seen often enough."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from avatar.core.landmarks import CHIN, UPPER_LIP
from avatar.core.take import Track, read_frames, read_track
from preprocess.select import leave_out_repeats
from preprocess.spans import (
    caption_share,
    covered,
    describe_frame,
    find_bad_spans,
    find_covered,
    find_other_shots,
    sample_patch,
    to_spans,
)
from tests.conftest import Filmed

Array = np.ndarray


def describe(shots: list[tuple[Array, int]]) -> Array:
    random = np.random.default_rng(0)
    frames = [
        np.clip(shot + random.integers(-5, 5, shot.shape), 0, 255).astype(np.uint8)
        for shot, count in shots
        for _ in range(count)
    ]
    return np.stack([describe_frame(frame) for frame in frames])


def test_a_cut_keeps_the_longest_shot() -> None:
    dark, bright = np.full((64, 64, 3), 40), np.full((64, 64, 3), 200)
    spans = find_other_shots(describe([(dark, 20), (bright, 40)]), np.zeros(60))
    assert [(span.start, span.stop) for span in spans] == [(0, 20)]


def test_a_shot_of_the_same_place_is_used_and_another_is_not() -> None:
    ramp = np.tile(np.linspace(60, 200, 64)[None, :, None], (64, 1, 3))
    zoomed = np.tile(np.linspace(100, 160, 64)[None, :, None], (64, 1, 3))
    other = np.full((64, 64, 3), 20)
    spans = find_other_shots(describe([(ramp, 40), (other, 20), (ramp, 30), (zoomed, 20)]), np.zeros(110))
    assert [(span.start, span.stop) for span in spans] == [(40, 60), (90, 110)]


def test_the_place_seen_longest_is_kept_whatever_its_longest_shot() -> None:
    ramp, other = np.tile(np.linspace(60, 200, 64)[None, :, None], (64, 1, 3)), np.full((64, 64, 3), 20)
    spans = find_other_shots(describe([(ramp, 20), (other, 25), (ramp, 20)]), np.zeros(65))
    assert [(span.start, span.stop) for span in spans] == [(20, 45)]


def test_another_framing_of_a_place_is_used_and_of_another_place_is_not() -> None:
    ramp = np.tile(np.linspace(60, 200, 64)[None, :, None], (64, 1, 3))
    descriptions = describe([(ramp, 40), (ramp[:, ::-1], 20), (np.full((64, 64, 3), 20), 20)])
    framing = np.repeat([0, 1, 1], [40, 20, 20])
    assert [(span.start, span.stop) for span in find_other_shots(descriptions, framing)] == [(60, 80)]
    assert [(span.start, span.stop) for span in find_other_shots(descriptions, 0 * framing)] == [(60, 80)]


def test_captions_are_seen_and_faces_are_none(actor: Filmed) -> None:
    frame = read_frames(actor.take, [50])[0].numpy()
    assert caption_share(frame) < 0.1
    captioned = frame.copy()
    for color, width in (((0, 0, 0), 10), ((255, 255, 255), 3)):
        cv2.putText(captioned, "What a person says", (90, 440), cv2.FONT_HERSHEY_DUPLEX, 1.1, color, width, cv2.LINE_AA)
    assert caption_share(captioned) > 0.4


def test_a_hand_before_the_mouth_is_left_out(actor: Filmed) -> None:
    track = read_track(actor.take)
    patches = []
    for index in range(actor.take.length):
        frame, points = read_frames(actor.take, [index])[0].numpy(), track.landmarks[index].numpy()
        if 60 <= index < 80:
            x, y = points[[UPPER_LIP, CHIN], :2].mean(0)
            frame = cv2.ellipse(frame.copy(), (int(x), int(y)), (70, 60), 0, 0, 360, (150, 110, 95), -1)
        patches.append(sample_patch(frame, points))
    found = find_covered(np.stack(patches), np.ones(len(patches), bool))
    assert found[62:78].all()
    assert not found[:58].any()
    assert not found[82:].any()


def test_black_frozen_and_turned_frames_are_left_out(actor: Filmed) -> None:
    track = read_track(actor.take)
    descriptions = np.stack(
        [describe_frame(read_frames(actor.take, [index])[0].numpy()) for index in range(actor.take.length)]
    )
    patches = np.zeros((len(track), 12, 14, 3), np.uint8)
    free = np.zeros(len(track), bool)
    framing = np.zeros(len(track), int)
    assert find_bad_spans(descriptions, patches, free, framing, track) == []
    still = descriptions.copy()
    still[30:60] = still[30]
    still[100:110, 512:768] = 3
    turned = replace(track, rotation=track.rotation.clone())
    turned.rotation[150:160] = torch.tensor([[0.5, 0, 0.866], [0, 1, 0], [-0.866, 0, 0.5]])
    hidden = free.copy()
    hidden[120:152] = True
    framing[180:] = 1
    spans = find_bad_spans(still, patches, hidden, framing, turned)
    reasons = {span.reason: (span.start, span.stop) for span in spans}
    assert reasons == {
        "frozen picture": (31, 60),
        "black picture": (100, 110),
        "something covers the mouth": (120, 150),
        "face turned away": (150, 160),
        "cut between two framings": (179, 181),
    }


def test_selection_keeps_the_rare_and_drops_the_common() -> None:
    count, modes = 1000, 32
    random = torch.Generator().manual_seed(0)
    expression = 0.05 * torch.randn(count, modes, generator=random)
    expression[400:450] = 2 * torch.randn(50, modes, generator=random)  # two seconds of lively speech in a long rest
    track = Track(
        landmarks=torch.zeros(count, 478, 3),
        rotation=torch.eye(3).expand(count, 3, 3),
        translation=torch.zeros(count, 3),
        expression=expression,
        eyes=torch.zeros(count, 4),
        torso=torch.zeros(count, 4),
        neutral=torch.zeros(478, 3),
        confidence=torch.ones(count),
        fps=25.0,
    )
    free = np.ones(count, bool)
    free[:100] = False
    kept = free & ~covered(leave_out_repeats(track, free, 10.0), count)
    assert abs(kept.sum() - 250) <= 50
    assert kept[400:450].all()
    assert not kept[:100].any()
    assert leave_out_repeats(track, free, 100.0) == []


def test_spans_cover_what_they_were_made_of() -> None:
    bad = np.random.default_rng(1).random(200) < 0.4
    assert np.array_equal(covered(to_spans(bad, "x"), 200), bad)
    assert all(span.stop - span.start >= 3 for span in to_spans(bad, "x", at_least=3))
