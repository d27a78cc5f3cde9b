"""Synthesized speech: phone times, recording conditions, corpora that resume, pre-training that resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION, SILENCE, articulate, classify, from_ipa
from avatar.core.files import UserError
from avatar.learn import corpus as corpora
from avatar.learn import pretrain as pretraining
from avatar.learn.corpus import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_VARIANTS,
    list_shards,
    make_corpus,
    plan_utterance,
    read_corpus,
)
from avatar.learn.room_acoustics import simulate_recording
from avatar.learn.sentences import read_words
from avatar.learn.synthesizers import SAMPLE_RATE, VoiceSettings, synthesize
from avatar.motion.encoder import load_encoder

UTTERANCES = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two shards of twelve utterances."""
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "SHARD", UTTERANCES // 2)
        make_corpus(folder, UTTERANCES, seed=3, flite=False, workers=2)
        yield folder


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ɔ̃", ["ao"]),
        ("aɪ", ["a", "ih"]),
        ("tʃ", ["t", "sh"]),
        ("(en)", []),
        ("bʲ", ["b"]),
        ("yː", ["ue"]),
        ("j", ["y"]),
        ("@", ["t"]),
    ],
)
def test_ipa_becomes_phones(ipa: str, phones: list[str]) -> None:
    assert from_ipa(ipa) == phones


def test_phone_times_are_those_of_the_sound() -> None:
    utterance = synthesize("apa ama apa.", "espeak:it+m3")
    stops = [phone.stop for phone in utterance.phones]
    assert [phone.start for phone in utterance.phones][1:] == pytest.approx(stops[:-1])
    assert stops[-1] == pytest.approx(len(utterance.pcm) / SAMPLE_RATE, abs=0.01)
    loudness = {symbol: [] for symbol in ("p", "a", "m")}
    for phone in utterance.phones:
        if phone.symbol in loudness:
            middle = int((0.7 * phone.start + 0.3 * phone.stop) * SAMPLE_RATE)
            loudness[phone.symbol].append(float(utterance.pcm[middle : middle + 160].square().mean().sqrt()))
    assert [len(found) for found in loudness.values()] == [2, 6, 1]
    assert max(loudness["p"]) < 0.1 * min(loudness["a"])  # a closed mouth lets nothing out
    assert loudness["m"][0] < min(loudness["a"])


def test_the_speaking_rate_is_kept() -> None:
    slow, fast = (synthesize("uno due tre", "espeak:it", VoiceSettings(rate)) for rate in (0.7, 1.4))
    assert len(slow.pcm) > 1.6 * len(fast.pcm)


def test_a_voice_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="tlh: espeak-ng has no such voice"):
        synthesize("nuqneH", "espeak:tlh")


@pytest.mark.parametrize("language", sorted(read_words()))
def test_every_language_has_lips_that_close_and_open(language: str) -> None:
    words = read_words()[language]
    utterance = synthesize(" ".join(words), f"espeak:{language}")
    seconds = len(utterance.pcm) / SAMPLE_RATE
    curve = articulate(utterance.phones, fps=25, seconds=seconds)
    assert curve.shape[1] == len(ARTICULATION)
    assert curve[:, 0].min() < 0.1 < 0.6 < curve[:, 0].max()
    assert len(classify(utterance.phones, fps=25, seconds=seconds).unique()) >= 6
    assert sum(phone.symbol == SILENCE for phone in utterance.phones) < len(words)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 8000))
def test_recording_conditions_keep_the_length(seed: int, count: int) -> None:
    pcm = 0.3 * torch.randn(count, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)
    recorded = simulate_recording(pcm.clamp(-1, 1), np.random.default_rng(seed))
    assert recorded.shape == pcm.shape
    assert torch.isfinite(recorded).all()
    assert (recorded.abs() <= 1).all()
    assert torch.equal(recorded, simulate_recording(pcm.clamp(-1, 1), np.random.default_rng(seed)))


def test_reverberation_and_noise_are_added_after_the_sound() -> None:
    """A click, in many rooms: before it there may be noise, never reverberation; two thirds are changed."""
    click = torch.zeros(4000)
    click[1000] = 0.9
    made = [simulate_recording(click, np.random.default_rng(seed)) for seed in range(60)]
    changed = [one for one in made if not torch.equal(one, click)]
    assert 25 < len(changed) < 55
    louder_after = sum(bool(one[1200:3000].std() > 3 * one[:900].std()) for one in changed)
    assert louder_after > len(changed) / 4


def test_held_out_voices_and_languages_are_not_trained_on() -> None:
    voices = {plan_utterance(seed).voice for seed in range(2000)}
    assert "flite:awb" not in voices
    assert not any(voice.endswith(HELD_OUT_VARIANTS) for voice in voices)
    assert not any(voice.startswith(f"espeak:{language}") for voice in voices for language in HELD_OUT_LANGUAGES)
    assert len({voice.split(":")[1].split("+")[0] for voice in voices if voice.startswith("espeak")}) >= 12


def test_a_corpus_resumes_where_it_stopped(corpus: Path, tmp_path: Path) -> None:
    first, second = list_shards(corpus)
    before, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    make_corpus(corpus, UTTERANCES, seed=3, flite=False)
    assert second.read_bytes() == before
    assert first.stat().st_mtime_ns == kept
    assert len(list(read_corpus(corpus))) == UTTERANCES
    with pytest.raises(UserError, match="a corpus of another seed"):
        make_corpus(corpus, UTTERANCES, seed=4, flite=False)
    with pytest.raises(UserError, match="holds no corpus"):
        list_shards(tmp_path)


def test_pretraining_resumes_where_it_stopped(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "CHECKPOINT_EVERY", 2)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    pretraining.pretrain(corpus, tmp_path / "whole.safetensors", seed=0, steps=5)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if (stage, done) == ("encoder", 4):
            raise KeyboardInterrupt

    broken = tmp_path / "broken.safetensors"
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(corpus, broken, seed=0, steps=5, progress=stop)
    assert not broken.exists()
    with pytest.raises(UserError, match="not a checkpoint of this training"):
        pretraining.pretrain(corpus, broken, seed=1, steps=5)
    pretraining.pretrain(corpus, broken, seed=0, steps=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.safetensors", "whole.safetensors"]
    expected, found = (load_encoder(tmp_path / f"{name}.safetensors").state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_two_processes_train_one_encoder(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.safetensors"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "avatar.cli", "a2m", "pretrain", str(corpus), "-o", str(out), "--steps", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    printed = [line for line in run.stdout.splitlines() if "correlation on held-out" in line]
    assert len(printed) == 2
    assert printed[0] == printed[1]  # both hold the same weights
    load_encoder(out)
    assert json.loads((corpus / "corpus.json").read_text())["seed"] == 3
