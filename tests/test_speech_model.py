"""A speech model checks its shapes, survives tensors and files, and damage is reported in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar.core.avatar_file import Avatar, SpeakingStyle, load_avatar, save_avatar
from avatar.core.files import UserError, read_safetensors, stream_safetensors
from avatar.core.geometry import Camera
from avatar.core.motion_space import Motion
from avatar.core.speech_model import KernelRegression, PostNet, SpeechModel, decoder_tensors, from_tensors, to_tensors
from avatar.motion.encoder import load_encoder
from avatar.motion.features import DEFAULT_FEATURES
from avatar.motion.speech_to_motion import open_speech_model

INPUTS, MODES = 20, 32


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def regression() -> KernelRegression:
    return KernelRegression(draw(INPUTS), draw(INPUTS, 8), draw(40, 8), draw(40, MODES), draw(MODES))


def post_net() -> PostNet:
    return PostNet(draw(5), draw(5), draw(4, MODES), draw(16, 15), draw(16), draw(MODES, 16), draw(MODES))


def model(decoder: KernelRegression | PostNet, voice: Tensor | None = None) -> SpeechModel:
    encoder = {name: tensor.half() for name, tensor in load_encoder().state_dict().items()}
    return SpeechModel(DEFAULT_FEATURES, encoder, decoder, draw(MODES), draw(MODES), draw(MODES), voice)


def person(speech: SpeechModel) -> Avatar:
    turn = torch.eye(3).expand(4, 3, 3)
    own = Motion(draw(4, MODES), torch.ones(4, 4), turn, draw(4, 3), draw(4, 4), fps=25)
    plate = torch.zeros(16, 16, 3, dtype=torch.uint8)
    return Avatar(
        kind="gaussian",
        renderer={},
        speech=speech,
        style=SpeakingStyle(0.3, 0.2, 0.04, own, 1.2),
        plate=plate,
        camera=Camera(20.0, 16),
        fps=25,
        space_id=own.space_id,
        recipe="",
        provenance={},
    )


def equal(one: SpeechModel, other: SpeechModel) -> bool:
    first, second = to_tensors(one), to_tensors(other)
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    return same and one.features == other.features and type(one.decoder) is type(other.decoder)


@pytest.mark.parametrize("decoder", [regression(), post_net()], ids=["regression", "postnet"])
@pytest.mark.parametrize("voice", [None, draw(4, 10)], ids=["silent", "voice"])
def test_it_is_the_same_after_tensors_and_after_a_file(
    decoder: KernelRegression | PostNet, voice: Tensor | None, tmp_path: Path
) -> None:
    made = model(decoder, voice)
    assert equal(made, from_tensors(to_tensors(made), DEFAULT_FEATURES))
    assert made.calibration == ("adversarial" if isinstance(decoder, PostNet) else "regression")
    save_avatar(person(made), tmp_path / "a.avatar")
    assert equal(made, load_avatar(tmp_path / "a.avatar").speech)


@pytest.mark.parametrize("name", ["mean", "lid_slope", "lip_reading"])
def test_a_vector_of_other_modes_is_named(name: str) -> None:
    wrong: dict[str, Any] = {name: draw(MODES + 1)}
    with pytest.raises(ValueError, match=rf"SpeechModel\.{name} is \[33\], expected \[K\] with K = 32"):
        replace(model(regression()), **wrong)


def test_a_voice_of_other_features_is_named() -> None:
    with pytest.raises(ValueError, match=r"SpeechModel\.voice is \[4, 9\], expected \[T, 10\]"):
        model(regression(), draw(4, 9))


@pytest.mark.parametrize("decoder", [regression(), post_net()], ids=["regression", "postnet"])
def test_every_tensor_of_a_decoder_is_checked(decoder: KernelRegression | PostNet) -> None:
    for name, tensor in decoder_tensors(decoder).items():
        wrong: dict[str, Any] = {name: tensor[None]}
        with pytest.raises(ValueError, match=rf"{type(decoder).__name__}\.{name} is "):
            replace(decoder, **wrong)
    with pytest.raises(ValueError, match=r"SpeechModel\.mean is \[32\], expected \[K\] with K = 31"):
        model(of_fewer_modes(decoder))


def of_fewer_modes(decoder: KernelRegression | PostNet) -> KernelRegression | PostNet:
    """Consistent in itself, for 31 modes."""
    if isinstance(decoder, PostNet):
        lips, second = decoder.lips[:, :-1], decoder.second[:-1]
        return replace(decoder, lips=lips, second=second, offset=decoder.offset[:-1])
    return replace(decoder, weight=decoder.weight[:, :-1], offset=decoder.offset[:-1])


def test_a_model_without_an_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="SpeechModel: has no encoder weights"):
        replace(model(regression()), encoder={})
    tensors = {name: tensor for name, tensor in to_tensors(model(regression())).items() if "encoder" not in name}
    with pytest.raises(ValueError, match="SpeechModel: has no encoder weights"):
        from_tensors(tensors, DEFAULT_FEATURES)


def test_weights_that_do_not_fit_the_encoder_are_named() -> None:
    made = model(regression())
    without = {name: tensor for name, tensor in made.encoder.items() if name != "down.bias"}
    for encoder in (without, {**made.encoder, "down.bias": draw(3)}):
        with pytest.raises(UserError, match=r"down\.bias.*build the avatar again") as error:
            open_speech_model(replace(made, encoder=encoder))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speech.mean": None}, "mean"),
        ({"speech.decoder.offset": None}, "offset"),
        ({"speech.decoder.unknown": torch.zeros(1)}, "unknown"),
        ({"speech.lid_slope": torch.zeros(3)}, "SpeechModel.lid_slope is [3]"),
        ({"speech.decoder.centers": torch.zeros(7, 8)}, "KernelRegression.weight is [40, 32]"),
    ],
)
def test_damage_of_an_avatar_file_is_named(change: dict[str, Tensor | None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.avatar"
    save_avatar(person(model(regression())), path)
    tensors, metadata = read_safetensors(path)
    kept = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
    stream_safetensors({name: tensor.clone() for name, tensor in kept.items()}, path, metadata)
    with pytest.raises(UserError) as error:
        load_avatar(path)
    text = str(error.value)
    assert words in text, text
    assert text.startswith(f"{path}: is a damaged or edited avatar file")
    assert "\n" not in text
