"""Synthesized speech: phones where they are heard, distortions, corpora that resume, training that resumes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.articulation import ARTICULATION, SILENCE, articulate, classify, from_ipa
from avatar.core.files import UserError
from avatar.learn.corpus import UNSEEN_LANGUAGES, UNSEEN_VARIANTS, list_shards, make_corpus, plan_line, read_corpus
from avatar.learn.room_acoustics import record
from avatar.learn.sentences import read_words
from avatar.learn.synthesizers import SAMPLE_RATE, Manner, synthesize
from avatar.motion.encoder import load_encoder

train = importlib.import_module("avatar.learn.pretrain")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, 100, seed=3, flite=False, workers=2)
    return folder


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


def test_phones_are_told_when_they_are_heard() -> None:
    said = synthesize("apa ama apa.", "espeak:it+m3")
    stops = [phone.stop for phone in said.phones]
    assert [phone.start for phone in said.phones][1:] == pytest.approx(stops[:-1])
    assert stops[-1] == pytest.approx(len(said.pcm) / SAMPLE_RATE, abs=0.01)
    loudness = {symbol: [] for symbol in ("p", "a", "m")}
    for phone in said.phones:
        if phone.symbol in loudness:
            middle = int((0.7 * phone.start + 0.3 * phone.stop) * SAMPLE_RATE)
            loudness[phone.symbol].append(float(said.pcm[middle : middle + 160].square().mean().sqrt()))
    assert [len(found) for found in loudness.values()] == [2, 6, 1]
    assert max(loudness["p"]) < 0.1 * min(loudness["a"])  # a closed mouth lets nothing out
    assert loudness["m"][0] < min(loudness["a"])


def test_manner_is_heard() -> None:
    slow, fast = (synthesize("uno due tre", "espeak:it", Manner(speed)) for speed in (0.7, 1.4))
    assert len(slow.pcm) > 1.6 * len(fast.pcm)


def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="tlh: espeak-ng has no such voice"):
        synthesize("nuqneH", "espeak:tlh")


@pytest.mark.parametrize("language", sorted(read_words()))
def test_every_language_has_lips_that_close_and_open(language: str) -> None:
    words = read_words()[language]
    said = synthesize(" ".join(words), f"espeak:{language}")
    seconds = len(said.pcm) / SAMPLE_RATE
    curve = articulate(said.phones, fps=25, seconds=seconds)
    assert curve.shape[1] == len(ARTICULATION)
    assert curve[:, 0].min() < 0.1 < 0.6 < curve[:, 0].max()
    assert len(classify(said.phones, fps=25, seconds=seconds).unique()) >= 6
    assert sum(phone.symbol == SILENCE for phone in said.phones) < len(words)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 8000))
def test_another_room_keeps_the_time(seed: int, count: int) -> None:
    pcm = 0.3 * torch.randn(count, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)
    heard = record(pcm, np.random.default_rng(seed))
    assert heard.shape == pcm.shape
    assert torch.isfinite(heard).all()
    assert heard.abs().max() <= 1 if count else True
    assert torch.equal(heard, record(pcm, np.random.default_rng(seed)))


def test_what_is_kept_for_testing_is_not_learned() -> None:
    voices = {plan_line(seed).voice for seed in range(2000)}
    assert "flite:awb" not in voices
    assert not any(voice.endswith(UNSEEN_VARIANTS) for voice in voices)
    assert not any(voice.startswith(f"espeak:{language}") for voice in voices for language in UNSEEN_LANGUAGES)
    assert len({voice.split(":")[1].split("+")[0] for voice in voices if voice.startswith("espeak")}) >= 12


def test_a_corpus_goes_on_where_it_stopped(corpus: Path, tmp_path: Path) -> None:
    first, second = list_shards(corpus)
    before, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    make_corpus(corpus, 100, seed=3, flite=False)
    assert second.read_bytes() == before
    assert first.stat().st_mtime_ns == kept
    assert len(list(read_corpus(corpus))) == 100
    with pytest.raises(UserError, match="another plan"):
        make_corpus(corpus, 100, seed=4, flite=False)
    with pytest.raises(UserError, match="holds no corpus"):
        list_shards(tmp_path)


def test_training_goes_on_where_it_stopped(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 2)
    train.pretrain(corpus, tmp_path / "whole.safetensors", seed=0, steps=5)

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("encoder", 4):
            raise KeyboardInterrupt

    broken = tmp_path / "broken.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train.pretrain(corpus, broken, seed=0, steps=5, report=stop)
    assert not broken.exists()
    with pytest.raises(UserError, match="not a checkpoint of this training"):
        train.pretrain(corpus, broken, seed=1, steps=5)
    train.pretrain(corpus, broken, seed=0, steps=5)
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
