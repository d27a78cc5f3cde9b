"""Features of a model that the user brings; here a tiny one of random weights, which loads and streams like any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avatar.core.controls import Controls
from avatar.core.files import UserError
from avatar.core.motion_space import concatenate
from avatar.core.take import read_audio, read_track
from avatar.learn import corpus as corpora
from avatar.learn.adapt import adapt
from avatar.learn.corpus import make_corpus
from avatar.learn.pretrain import pretrain
from avatar.motion.driver import Driver, drive
from avatar.motion.encoder import load_encoder
from avatar.motion.features import compute, open_features
from avatar.motion.speech_to_motion import open_speech_model
from tests.conftest import Filmed

SECOND = 16000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    folder = tmp_path_factory.mktemp("hubert")
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        feat_extract_norm="layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("samples", [1, 159, 320, 7777, 9 * SECOND, 21 * SECOND + 77])
def test_frames_come_100_times_a_second(checkpoint: Path, samples: int) -> None:
    pcm = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    frames = compute(pcm, f"hubert:{checkpoint}")
    assert frames.shape == (-(-samples // 160), 24)
    assert torch.isfinite(frames).all()


def test_pieces_of_any_size_give_the_same_frames(checkpoint: Path) -> None:
    pcm = 0.1 * torch.randn(20 * SECOND, generator=torch.Generator().manual_seed(0))
    feature = open_features(f"hubert:{checkpoint}")
    pieces = [feature.push(part) for part in pcm.split(12345)]
    assert torch.allclose(torch.cat([*pieces, feature.flush()]), compute(pcm, f"hubert:{checkpoint}"), atol=1e-5)


def test_a_frame_describes_the_sound_of_its_own_time(checkpoint: Path) -> None:
    quiet = 0.01 * torch.randn(4 * SECOND, generator=torch.Generator().manual_seed(0))
    loud = quiet.clone()
    loud[2 * SECOND : 2 * SECOND + 320] += 0.5
    changed = (compute(quiet, f"hubert:{checkpoint}") - compute(loud, f"hubert:{checkpoint}")).norm(dim=1)
    assert changed[198:206].mean() > 2 * changed[:180].mean()
    assert changed[198:206].mean() > 2 * changed[220:].mean()


def test_an_encoder_of_these_features_is_trained_and_adapted(
    checkpoint: Path, actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"hubert:{checkpoint}"
    monkeypatch.setattr(corpora, "SHARD", 10)
    make_corpus(tmp_path / "corpus", 20, seed=0, flite=False, workers=2)
    pretrain(tmp_path / "corpus", tmp_path / "encoder.safetensors", seed=0, steps=2, features=name)
    encoder = load_encoder(tmp_path / "encoder.safetensors")
    assert encoder.features == name
    audio, take = read_audio(actor.take), actor.take
    model, style = adapt(audio, read_track(take), frames=list(range(100)), seed=0, encoder=encoder)
    assert model.features == name
    driver = Driver(open_speech_model(model), style, fps=25, controls=Controls())
    assert len(concatenate(list(drive(driver, audio[: 3 * SECOND].split(SECOND))))) == 75


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(UserError, match="is not a speech model that can be loaded"):
        open_features(f"hubert:{tmp_path}")
    with pytest.raises(UserError, match="features 'mfcc' are not known; there are: whisper, hubert"):
        open_features("mfcc")
