"""The packaged layers of a speech recognizer, against the `transformers` library's own Whisper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar.core.files import UserError
from avatar.core.take import read_audio
from avatar.motion.encoder import CONTEXT, SEGMENT, STRIDE, backbone_features, encode, load_encoder
from avatar.motion.features import DEFAULT_FEATURES, compute
from avatar.motion.whisper import load_whisper, packaged_whisper
from tests.conftest import Filmed

RECIPE = Path(__file__).parent.parent / "recipes" / "whisper_layers.py"
SECOND = 16000


def convert(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECIPE), str(folder), "-o", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    """A Whisper of random weights, and its folder."""
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    sizes = {"encoder_ffn_dim": 512, "decoder_ffn_dim": 8, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(d_model=128, encoder_layers=3, decoder_layers=1, vocab_size=60000, **sizes)
    whisper = WhisperModel(config).eval()
    folder = tmp_path_factory.mktemp("whisper")
    whisper.half().save_pretrained(folder)
    return folder, whisper.float()


def test_layers_do_what_the_library_does(model: tuple[Path, object], actor: Filmed, tmp_path: Path) -> None:
    """From sound to hidden layer: their features and network against ours."""
    from transformers import WhisperFeatureExtractor

    folder, whisper = model
    assert convert(folder, tmp_path / "layers.safetensors").returncode == 0
    pcm = read_audio(actor.take)[: 4 * SECOND]
    # a frame of theirs is centred where it begins, one of ours in its middle
    theirs_hear = WhisperFeatureExtractor()(np.pad(pcm.numpy()[80:], (0, 80)), sampling_rate=SECOND)
    mel = torch.from_numpy(theirs_hear.input_features)
    with torch.no_grad():
        theirs = whisper.encoder(mel, output_hidden_states=True).hidden_states[2]  # type: ignore[attr-defined]
        silence = compute(torch.cat([pcm, torch.zeros(26 * SECOND)]))[None, :3000]
        ours = load_whisper(tmp_path / "layers.safetensors")(silence[..., :80].mT).mT
    assert ours.shape == theirs.shape
    spoken = slice(2, 195)
    assert (ours - theirs)[:, spoken].abs().mean() < 0.02 * theirs[:, spoken].std()


def test_the_packaged_layers_are_two_of_whisper_tiny() -> None:
    whisper = packaged_whisper()
    assert len(whisper.layers) == 2
    assert whisper.first.weight.shape == (384, 80, 3)
    assert not any(parameter.requires_grad for parameter in whisper.parameters())


def test_other_files_are_told(model: tuple[Path, object], tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken\.safetensors: holds no layers of Whisper"):
        load_whisper(tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match="holds no layers of Whisper"):
        load_whisper(model[0] / "model.safetensors")
    told = convert(tmp_path, tmp_path / "out.safetensors")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "Whisper model" in told.stderr


@settings(max_examples=8, deadline=None)
@given(frames=st.integers(1, 3 * SEGMENT + 2 * CONTEXT))
def test_a_long_recording_is_heard_in_parts_without_a_seam(frames: int) -> None:
    """What is far from a frame does not change it much: a part hears a second before and after itself."""
    pcm = 0.1 * torch.randn(frames * STRIDE * 160, generator=torch.Generator().manual_seed(frames))
    features, encoder = compute(pcm), load_encoder()
    with torch.no_grad():
        heard = encode(encoder, features)
        at_once = backbone_features(features.T[None], DEFAULT_FEATURES)
    assert len(heard.hidden) == len(heard.articulation) == len(heard.backbone) == frames
    whole = torch.nn.functional.avg_pool1d(at_once, 2)[0].T
    assert (heard.backbone - whole).abs().mean() < 0.3 * whole.std()


def test_reading_layers_draws_nothing() -> None:
    """Else the first training in a process would begin with other weights than the second, of the same seed."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    packaged_whisper.__wrapped__()
    assert torch.equal(torch.rand(3), expected)
