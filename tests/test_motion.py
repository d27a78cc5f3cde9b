"""Speech to motion: streams, silence, determinism, adaptation."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION, CLASSES, Phone, articulate, classify
from avatar.core.avatar_file import SpeakingStyle
from avatar.core.controls import Controls
from avatar.core.geometry import to_vector
from avatar.core.lips import read_lips
from avatar.core.motion_space import Motion, concatenate, load_space
from avatar.core.speech_model import KernelRegression, PostNet
from avatar.core.take import read_audio, read_track
from avatar.metrics import correlation
from avatar.motion.batched_speech import BatchedSpeech, mouth_motion
from avatar.motion.behaviour import Blinker, measure_lips, project
from avatar.motion.driver import FILE_WINDOW, LIVE_WINDOW, Driver, Window, drive
from avatar.motion.encoder import encode, load_encoder
from avatar.motion.features import LogMel, compute
from avatar.motion.head_motion import PROSODY_WIDTH, MotionGraph, prosody_features
from avatar.motion.live_encoder import Hop, LiveSpeech
from avatar.motion.speech_to_motion import open_speech_model
from avatar.motion.style import restyle
from preprocess.actor import speech
from tests.conftest import ADAPTED_FRAMES, Adapted, Filmed


def start(adapted: Adapted, window: Window = FILE_WINDOW, followed: Motion | None = None, **controls: Any) -> Driver:
    model, style = adapted
    return Driver(
        open_speech_model(model),
        style,
        fps=25,
        controls=Controls(**controls),
        pose=followed,
        window=window,
        breathing=1.0,
    )


def run(adapted: Adapted, pcm: torch.Tensor, *, chunk: int = 16000, **controls: Any) -> Motion:
    return concatenate(list(drive(start(adapted, **controls), pcm.split(chunk))))


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=12), length=st.integers(1, 20000))
def test_chunks_of_any_size_give_the_same_frames(cuts: list[int], length: int) -> None:
    pcm = 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(length))
    whole = compute(pcm)
    feature, parts, start = LogMel(), [], 0
    while start < length:
        step = cuts[len(parts) % len(cuts)]
        parts.append(feature.push(pcm[start : start + step]))
        start += step
    parts.append(feature.flush())
    streamed = torch.cat(parts)
    assert whole.shape == (math.ceil(length / 160), feature.width)
    assert torch.allclose(streamed, whole, atol=1e-4)
    assert torch.isfinite(compute(torch.zeros(length))).all()


def test_pitch_of_a_tone() -> None:
    time = torch.arange(16000) / 16000
    tone = sum(torch.sin(2 * math.pi * 200 * k * time) / k for k in range(1, 8)) * 0.1
    features = compute(tone)[10:-10]
    assert float(160 * features[:, -1].exp().median()) == pytest.approx(200, abs=4)  # Hz
    assert features[:, -2].median() > 0.8


def test_bilabials_close_and_open_vowels_open() -> None:
    phones = [Phone("pau", 0, 0.2), Phone("aa", 0.2, 0.4), Phone("m", 0.4, 0.5), Phone("uw", 0.5, 0.7)]
    curve = articulate(phones, fps=100, seconds=0.7)
    assert curve.shape == (70, len(ARTICULATION))
    assert curve[30, 0] > 0.7
    assert curve[45, 0] < 0.15
    assert curve[45, 4] > 0.7
    assert curve[62, 2] > 0.7
    classes = classify(phones, fps=100, seconds=0.7)[[10, 30, 45, 60]]
    assert [CLASSES[index] for index in classes] == ["pau", "aa", "m", "uw"]


def test_the_encoder_predicts_the_actors_articulation() -> None:
    # the recording is one of the training voices; its text has words that no training sentence has
    pcm, phones = speech(12.0)
    with torch.no_grad():
        predicted = encode(load_encoder(), compute(pcm)).articulation
    truth = articulate(phones, fps=25, seconds=12.0)
    for column in (0, 1):
        assert correlation(predicted[: len(truth), column], truth[: len(predicted), column]) > 0.65


def test_frames_match_the_sound_and_chunks_do_not_show(adapted: Adapted) -> None:
    pcm, _ = speech(7.3)
    whole, chopped = run(adapted, pcm, chunk=len(pcm)), run(adapted, pcm, chunk=777)
    assert len(whole) == len(chopped) == round(7.3 * 25)
    assert torch.allclose(whole.expression, chopped.expression, atol=1e-3)
    assert len(run(adapted, pcm[:3200])) == 5
    again, other = run(adapted, pcm), run(adapted, pcm, seed=1)
    assert torch.equal(whole.rotation, again.rotation)
    assert torch.equal(whole.eyes, again.eyes)
    assert not torch.equal(whole.eyes, other.eyes)  # blinks; the head may follow these same words in one way only


def test_adapted_lips_follow_the_actor(adapted: Adapted, actor: Filmed) -> None:
    track, take = read_track(actor.take), actor.take
    motion = run(adapted, read_audio(take))
    reader = read_lips(load_space().basis)
    driven, seen = motion.expression[ADAPTED_FRAMES:] @ reader, track.expression[ADAPTED_FRAMES:] @ reader
    energy = read_audio(take)[: take.length * 640].reshape(-1, 640).square().mean(1)[ADAPTED_FRAMES:].log1p()
    for column in (0, 1):
        followed = correlation(driven[:, column], seen[:, column])
        # from less than six seconds of film; that loudness alone does not do as well is what counts
        assert followed > max(0.35, abs(correlation(energy, seen[:, column]))), (column, followed)


def test_silence_rests_and_controls_work(adapted: Adapted) -> None:
    silence = torch.zeros(16000 * 8)
    still = run(adapted, silence, head=0.0, blink=0.0)
    assert still.eyes[:, :2].min() == 1
    assert (still.rotation - still.rotation[0]).abs().max() < 1e-4
    opening = still.expression @ read_lips(load_space().basis)[:, 0]
    assert opening[25:-25].std() < 0.05
    assert run(adapted, silence, blink=5.0).eyes[:, 0].min() < 0.5


@pytest.mark.parametrize("level", [0.0, 0.002, 0.02])
def test_lips_rest_closed_when_nobody_speaks(adapted: Adapted, level: float) -> None:
    """Whatever noise there is; and they open again for the first word."""
    reading = adapted[0].lip_reading
    own = adapted[1].own.expression @ reading
    noise = level * torch.randn(16000 * 3, generator=torch.Generator().manual_seed(0))
    spoken = run(adapted, torch.cat([noise, speech(4.0)[0], noise]), blink=0.0).expression @ reading
    closed = own.quantile(0.25)
    assert spoken[:60].max() < closed
    assert spoken[-40:].max() < closed
    assert spoken[75:175].max() > own.quantile(0.75)


def make_style(frames: int = 200, rate: float = 0.4) -> SpeakingStyle:
    time = torch.linspace(0, 20, frames)
    turn = torch.stack([torch.sin(time), torch.cos(0.7 * time), 0.2 * torch.sin(2 * time)], 1) * 0.05
    own = Motion(
        torch.randn(frames, 4),
        torch.ones(frames, 4),
        torch.matrix_exp(skew(turn)),
        turn * 10,
        torch.zeros(frames, 4),
        25.0,
    )
    return SpeakingStyle(rate, 0.2, 0.0, own)


def skew(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], 1).reshape(-1, 3, 3)


def test_head_motion_goes_on_without_a_jump() -> None:
    style = make_style()
    graph = MotionGraph(style, torch.randn(200, 4), torch.Generator().manual_seed(0))
    pose = graph.take(torch.ones(3000), torch.ones(3000), torch.zeros(3000), torch.zeros(3000, PROSODY_WIDTH))
    steps = pose.translation.diff(dim=0).abs().max()
    assert steps < 3 * style.own.translation.diff(dim=0).abs().max()
    assert pose.translation.abs().max() < 2 * style.own.translation.abs().max()
    # no loop: two stretches a clip length apart differ
    assert (pose.translation[200:400] - pose.translation[:200]).abs().mean() > 0.02


def spoken_in_bursts(frames: int, seed: int) -> torch.Tensor:
    """Features [4 T, 83] of a voice that comes and goes."""
    bursts = torch.randint(0, 2, (frames // 20 + 1,), generator=torch.Generator().manual_seed(seed)).float()
    features = torch.zeros(4 * frames, 83)
    features[:, -3:-1] = bursts.repeat_interleave(80)[: 4 * frames, None]
    return features


def test_head_motion_follows_prosody() -> None:
    """Somebody who nods while speaking nods with the voicing of speech that is not in their clip."""
    known = prosody_features(spoken_in_bursts(500, 0))
    speaks, time = known[:, 4].clamp(0, 1), torch.arange(500) / 25
    nods = torch.stack([0.05 * speaks * torch.sin(12 * time), 0 * time, 0 * time], 1)
    own = replace(make_style(frames=500).own, rotation=torch.matrix_exp(skew(nods)), translation=torch.zeros(500, 3))
    new = prosody_features(spoken_in_bursts(1500, 1))

    def agreement(prosody: torch.Tensor | None) -> float:
        face, draw = torch.zeros(500, 4), torch.Generator().manual_seed(0)
        graph = MotionGraph(replace(make_style(), own=own), face, draw, prosody=prosody)
        pieces = [graph.take(torch.ones(len(p)), torch.ones(len(p)), torch.ones(len(p)), p) for p in new.split(7)]
        speed = torch.cat([piece.rotation for piece in pieces]).diff(dim=0).flatten(1).norm(dim=1)
        return correlation(speed, new[1:, 4].clamp(0, 1))

    assert agreement(known) > 0.3
    assert abs(agreement(None)) < 0.2


def test_prosody_in_parts_is_that_of_the_whole() -> None:
    features = torch.rand(400, 83, generator=torch.Generator().manual_seed(0))
    whole = prosody_features(features)
    assert whole.shape == (100, PROSODY_WIDTH)
    part = prosody_features(features[4 * 30 : 4 * 80])  # each takes 20 frames before it and 4 after it
    assert torch.allclose(part[20:-4], whole[50:76], atol=1e-6)


def test_blinks_come_at_the_persons_rate_whatever_the_chunks() -> None:
    style = make_style()
    shut = Blinker(style, 25, torch.Generator().manual_seed(0)).take(torch.ones(25 * 600))
    blinks = int(((shut[1:] > 0.5) & (shut[:-1] <= 0.5)).sum())
    assert 0.85 < blinks / 600 / style.blinks_per_second < 1.15
    blinker = Blinker(style, 25, torch.Generator().manual_seed(0))
    pieces = torch.cat([blinker.take(torch.ones(7)) for _ in range(300)])
    assert torch.equal(pieces, shut[:2100])
    assert Blinker(style, 25, torch.Generator()).take(torch.zeros(5000)).max() == 0


def test_controls_change_over_time(adapted: Adapted) -> None:
    pcm, _ = speech(8.0)
    usual = run(adapted, pcm, temperature=0.0)
    turned = run(adapted, pcm, mouth_gain={3.0: 1.0, 3.04: 0.0}, head={5.0: 1.0, 5.04: 0.0}, gaze=0.0, temperature=0.0)
    rest = adapted[0].mean
    assert torch.equal(usual.expression[:75], turned.expression[:75])
    open_lids = turned.eyes[:, 0] == 1
    assert torch.allclose(turned.expression[80:][open_lids[80:]], rest, atol=1e-5)
    assert turned.rotation[:125].std(0).max() > 0.001
    assert turned.rotation[130:].std(0).max() < 1e-5
    assert turned.eyes[:, 2:].std(0).max() < 1e-6
    assert usual.eyes[:, 2:].std(0).min() > 1e-4


def test_the_face_lives_beside_the_lips(adapted: Adapted) -> None:
    """Temperature moves brows and cheeks as the person does, and the lips not at all."""
    pcm, _ = speech(8.0)
    read = read_lips(load_space().basis)
    still, lively = (run(adapted, pcm, temperature=value) for value in (0.0, 1.0))
    added = lively.expression - still.expression
    assert (added @ read).abs().max() < 0.01  # cm
    assert added.std(0).max() > 0.05
    assert torch.allclose(run(adapted, pcm, temperature=0.5).expression - still.expression, added / 2, atol=1e-5)
    assert torch.equal(lively.rotation, still.rotation)


def test_manner_is_how_far_lips_and_head_move(adapted: Adapted) -> None:
    """By what people's own speech varies; a style clip has its own manner, and calm lips close all the same."""
    pcm, _ = speech(8.0)
    reading, usual = adapted[0].lip_reading, run(adapted, pcm, temperature=0.0)
    calm, lively = (run(adapted, pcm, temperature=0.0, manner=name) for name in ("calm", "lively"))
    turns = [to_vector(one.rotation).std(0).norm() for one in (calm, usual, lively)]
    opens = [(one.expression @ reading).quantile(0.9) for one in (calm, usual, lively)]
    assert float(turns[2] / turns[1]) == pytest.approx(math.exp(0.24), rel=0.02)
    assert float(turns[0] / turns[1]) == pytest.approx(math.exp(-0.24), rel=0.02)
    assert opens[0] < opens[1] < opens[2]
    shut = (usual.expression @ reading) < measure_lips(adapted[1].own.expression, reading).line
    assert ((calm.expression @ reading)[shut] < (usual.expression @ reading).quantile(0.3)).float().mean() > 0.9
    own = Controls(manner="lively", style="clip.mp4").over(torch.arange(3) / 25)
    assert torch.equal(own.mouth_gain, torch.ones(3))
    assert torch.equal(own.head, torch.ones(3))


def test_a_style_keeps_closed_lips_and_mean_pose(adapted: Adapted) -> None:
    """The style of somebody who opens their lips twice as far, sits elsewhere and looks aside."""
    model, style = adapted
    own, reading = style.own, model.lip_reading
    wide = replace(own, expression=2 * own.expression + 0.3, translation=own.translation + 5, torso=own.torso + 9)
    decoder = replace(model.decoder, weight=2 * model.decoder.weight, offset=2 * model.decoder.offset)
    other = replace(model, decoder=decoder, mean=2 * model.mean + 0.3)
    restyled, styled = restyle(model, style, other, replace(style, own=wide, blinks_per_second=0.9))
    assert styled.blinks_per_second == 0.9
    assert torch.allclose(styled.own.translation.mean(0), own.translation.mean(0), atol=1e-4)
    assert torch.allclose(styled.own.torso.mean(0), own.torso.mean(0), atol=1e-3)
    closed = [(motion.expression @ reading).quantile(0.05) for motion in (own, styled.own)]
    spread = [(motion.expression @ reading).std() for motion in (own, styled.own)]
    assert closed[1] == pytest.approx(float(closed[0]), abs=0.02)
    assert spread[1] == pytest.approx(2 * float(spread[0]), rel=0.01)
    pcm, _ = speech(6.0)
    usual, driven = (run(each, pcm, temperature=0.0, blink=0.0) for each in (adapted, (restyled, styled)))
    assert (driven.expression @ reading).std() > 1.4 * (usual.expression @ reading).std()


def test_a_head_can_be_held_still(adapted: Adapted) -> None:
    motion = run(adapted, speech(4.0)[0], pose="still")
    assert motion.rotation.std(0).max() < 1e-5
    with pytest.raises(ValueError, match="generated, still or take:DIR"):
        Controls(pose="moving")


def test_another_takes_head_is_followed(adapted: Adapted, actor: Filmed) -> None:
    pcm, _ = speech(6.0)
    pose = read_track(actor.take).motion()
    motion = concatenate(list(drive(start(adapted, followed=pose, temperature=0.5), pcm.split(5000))))
    assert torch.allclose(motion.rotation, pose.rotation[: len(motion)], atol=1e-4)
    assert torch.allclose(motion.torso, pose.torso[: len(motion)], atol=1e-4)


def test_long_speech_in_a_stream_is_that_of_one_pass(adapted: Adapted) -> None:
    pcm = speech(10.0)[0].repeat(5)[: 47 * 16000]
    at_once = start(adapted, Window(hop=10**6))
    whole = concatenate([at_once.push(pcm), at_once.finish()])
    streamed = run(adapted, pcm, chunk=7000)
    assert len(whole) == len(streamed) == 47 * 25
    assert len(whole) > 2 * FILE_WINDOW.hop
    apart = (streamed.expression - whole.expression).abs().amax(1)
    assert apart.max() < 0.1 * whole.expression.std(0).mean(), "context beyond a border must hardly change a frame"
    frames = torch.arange(len(apart)) % FILE_WINDOW.hop
    assert apart[(frames > 1) & (frames < FILE_WINDOW.hop - 2)].max() < 2e-3


@pytest.mark.parametrize("cuts", [[97, 3000, 1], [16000], [640, 161]])
def test_live_motion_is_the_files_motion(adapted: Adapted, cuts: list[int]) -> None:
    pcm, _ = speech(5.0)

    def live(sizes: list[int]) -> tuple[Motion, int]:
        driver, parts, at, late = start(adapted, LIVE_WINDOW), [], 0, 0
        while at < len(pcm):
            size = sizes[len(parts) % len(sizes)]
            parts.append(driver.push(pcm[at : at + size]))
            at += size
            late = max(late, min(at, len(pcm)) - 640 * sum(len(part) for part in parts))
        return concatenate([*parts, driver.finish()]), late

    (motion, late), whole = live([640]), run(adapted, pcm)
    assert late / 16000 < 0.3, "from a sample to its frame"
    assert len(motion) == len(whole) == 125
    read = read_lips(load_space().basis)
    for lips in (0, 1):
        assert correlation((motion.expression @ read)[:, lips], (whole.expression @ read)[:, lips]) > 0.95
    assert torch.allclose(motion.rotation, whole.rotation, atol=1e-5)
    assert torch.allclose(motion.eyes, whole.eyes, atol=1e-5)
    # the last bit of a feature, which depends on how many are made at a time, may round otherwise in bfloat16
    assert torch.allclose(live(cuts)[0].expression, motion.expression, atol=2e-2)


def test_projection_pulls_towards_own_motion() -> None:
    own = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    wild = torch.full((5, 4), 6.0)
    assert torch.equal(project(wild, own, 0.0), wild)
    distance = [torch.cdist(project(wild, own, s), own).min(1).values.mean() for s in (0.0, 0.5, 1.0)]
    assert distance[0] > distance[1] > distance[2]


def test_streams_in_a_batch_are_each_as_alone(adapted: Adapted) -> None:
    """Three streams of two people, begun at different times, past the frames where the backbone's positions restart."""
    own = open_speech_model(adapted[0])
    other = replace(own, model=replace(own.model, decoder=_moved(own.model.decoder)))
    models, starts = [own, other], {0: 0, 1: 31, 2: 0}
    batched = BatchedSpeech(models, torch.device("cpu"), torch.float32)
    streams = {name: batched.open(name % 2) for name in starts}
    drivers = {name: start(adapted, LIVE_WINDOW) for name in starts}
    alone = {name: LiveSpeech(models[name % 2], torch.float32) for name in starts}
    pieces = {name: (1 - 0.2 * name) * speech(9.0)[0] for name in starts}
    compared, due = 0, list[tuple[int, Hop]]()
    for step in range(220):
        due = due if step % 20 == 7 else []  # now and then two hops of each stream come at once
        for name, begun in starts.items():
            frame = step - begun
            if frame >= 0:
                due += [(name, hop) for hop in drivers[name].hops(pieces[name][640 * frame : 640 * (frame + 1)])]
        if step % 20 == 6:
            continue
        for (name, hop), row in zip(due, batched.push([(streams[name], hop) for name, hop in due]), strict=True):
            made, expected = mouth_motion(hop, row), alone[name](hop.window, hop.frames)
            for field in fields(expected):
                assert torch.allclose(getattr(made, field.name), getattr(expected, field.name), atol=1e-4), field.name
            compared += 1
    assert compared > 500


def _moved(decoder: KernelRegression | PostNet) -> KernelRegression | PostNet:
    return replace(decoder, offset=decoder.offset + 1)


def test_the_live_encoder_is_the_encoder(adapted: Adapted) -> None:
    """Exactly while all of it is computed anew; then nearer to the whole recording than a window of two seconds."""
    model = open_speech_model(adapted[0])
    features = compute(speech(20.0)[0])
    live, made = LiveSpeech(model, torch.float32), []
    for frame in range(490):
        before = min(frame, LIVE_WINDOW.history)
        window = features[4 * (frame - before) : 4 * (frame + 1 + LIVE_WINDOW.lookahead)]
        made.append(live(window, slice(before, before + 1)))
    found = {name: torch.cat([getattr(one, name) for one in made]) for name in ("expression", "lip_closure", "prosody")}
    for count in (1, 2):  # of up to six frames all is computed anew, as the window is
        whole = model(features[: 4 * (count + LIVE_WINDOW.lookahead)])
        assert torch.allclose(found["expression"][count - 1], whole.expression[count - 1], atol=1e-3)
        assert torch.allclose(found["lip_closure"][count - 1], whole.lip_closure[count - 1], atol=1e-4)
    whole, errors = model(features), []
    for frame in range(60, 490, 10):
        first = frame - LIVE_WINDOW.history
        window = model(features[4 * first : 4 * (frame + 1 + LIVE_WINDOW.lookahead)])
        assert torch.equal(found["prosody"][frame], window.prosody[LIVE_WINDOW.history])
        ends = (found["expression"][frame], window.expression[LIVE_WINDOW.history])
        errors.append([float((one - whole.expression[frame]).square().sum()) for one in ends])
    streamed, windowed = torch.tensor(errors).mean(0)
    assert streamed < windowed
    reading = adapted[0].lip_reading
    pair = torch.stack([found["expression"] @ reading, whole.expression[:490] @ reading])
    assert torch.corrcoef(pair)[0, 1] > 0.97
