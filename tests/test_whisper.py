"""The packaged layers of a speech recognizer, against the `transformers` library's own Whisper."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Identity, Module

from avatar.core.files import UserError
from avatar.motion.encoder import BEYOND, CONTEXT, SEGMENT, STRIDE, encode, load_encoder
from avatar.motion.features import compute
from avatar.motion.whisper import load_whisper, packaged_whisper
from preprocess.actor import speech
from recipes.whisper_layers import CONVOLUTIONS, PARTS

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


def test_layers_agree_with_the_library(model: tuple[Path, object], tmp_path: Path) -> None:
    """From sound to hidden layer: their features and network against ours."""
    from transformers import WhisperFeatureExtractor

    folder, whisper = model
    assert convert(folder, tmp_path / "layers.safetensors").returncode == 0
    pcm = speech(4.0)[0]
    # a frame of theirs is centred where it begins, one of ours in its middle
    extracted = WhisperFeatureExtractor()(np.pad(pcm.numpy()[80:], (0, 80)), sampling_rate=SECOND)
    mel = torch.from_numpy(extracted.input_features)
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


def test_other_files_are_named(model: tuple[Path, object], tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken\.safetensors: holds no layers of Whisper"):
        load_whisper(tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match="holds no layers of Whisper"):
        load_whisper(model[0] / "model.safetensors")
    run = convert(tmp_path, tmp_path / "out.safetensors")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "Whisper model" in run.stderr


def library_layers(frames: int) -> Module:
    """The packaged layers as the library's own encoder, for so many frames of mel features [B, 80, frames]."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 384, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536, "encoder_layers": 2}
    encoder = WhisperEncoder(WhisperConfig(**sizes, max_source_positions=frames // 2))
    names = dict(CONVOLUTIONS)
    names |= {f"layers.{i}.{ours}": f"layers.{i}.{theirs}" for i in (0, 1) for ours, theirs in PARTS.items()}
    weights = packaged_whisper().state_dict()
    stored = {}
    for name, weight in weights.items():
        part, _, kind = name.rpartition(".")
        stored[f"{names[part]}.{kind}"] = weight
    missing, unexpected = encoder.load_state_dict(stored, strict=False)
    assert not unexpected
    assert set(missing) == {"embed_positions.weight", "layer_norm.weight", "layer_norm.bias"}
    encoder.layer_norm = Identity()  # it comes after the last layer, of which there are more in the whole model
    return encoder.eval()


def test_long_recordings_are_encoded_as_the_library_encodes_their_segments() -> None:
    """Every frame is the mean of two segments of six seconds that overlap, each with a second about it.

    Written out here frame by frame, with the library's own layers: across all borders of the segments.
    """
    count = 2 * SEGMENT + 31
    pcm = 0.1 * torch.randn(count * STRIDE * 160, generator=torch.Generator().manual_seed(0))
    features, encoder = compute(pcm), load_encoder()
    mel = (features[:, :80].T * 4 / math.log(10) - math.log10(40) + 4) / 4  # as the library's feature extractor
    pairs: list[list[torch.Tensor]] = [[] for _ in range(count)]
    with torch.no_grad():
        for start in range(-SEGMENT // 2, count, SEGMENT // 2):
            first, last = max(0, start - CONTEXT), min(count, start + SEGMENT + CONTEXT)
            part = mel[None, :, first * STRIDE : last * STRIDE]
            backbone = library_layers(part.shape[2])(part).last_hidden_state.mT
            hidden, articulation, _ = encoder(backbone)
            lips = encoder.lips(torch.cat([hidden, articulation], 1))
            pooled = backbone.unflatten(2, (-1, 2)).mean(3)
            outputs = torch.cat([hidden, articulation, lips, pooled], 1)[0].T
            for frame in range(max(0, start), min(count, start + SEGMENT)):
                pairs[frame].append(outputs[frame - first])
        encoded = encode(encoder, features)
    assert {len(pair) for pair in pairs} == {2}
    expected = torch.stack([(one + other) / 2 for one, other in pairs])
    found = torch.cat([encoded.hidden, encoded.articulation, encoded.lips, encoded.backbone], 1)
    assert found.shape == expected.shape
    difference = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert difference.max() < 1e-3, difference.argmax()


@pytest.mark.parametrize("frames", [1, BEYOND, BEYOND + 1, SEGMENT, SEGMENT + 1])
def test_recordings_of_any_length_have_all_their_frames(frames: int) -> None:
    features = torch.randn(frames * STRIDE - 1, 83, generator=torch.Generator().manual_seed(frames))
    with torch.no_grad():
        encoded = encode(load_encoder(), features)
    assert len(encoded.hidden) == len(encoded.articulation) == len(encoded.lips) == len(encoded.backbone) == frames
    assert torch.isfinite(encoded.hidden).all()


def test_loading_layers_draws_no_random_numbers() -> None:
    """Else the first training in a process would start with other weights than the second, of the same seed."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    packaged_whisper.__wrapped__()
    assert torch.equal(torch.rand(3), expected)
