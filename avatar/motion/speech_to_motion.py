"""A person's speech model, opened: audio features to what the mouth does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.articulation import ARTICULATION
from avatar.core.files import UserError
from avatar.core.speech_model import (
    KernelRegression,
    PostNet,
    SpeechModel,
    decoder_from_tensors,
    decoder_tensors,
)
from avatar.motion.encoder import REACH, STRIDE, Encoder, encoder_from_tensors, to_whole_frames
from avatar.motion.features import DEFAULT_FEATURES, LogMel
from avatar.motion.head_motion import PROSODY_WIDTH, prosody_features
from avatar.motion.postnet import apply_postnet
from avatar.motion.regression import predict
from avatar.motion.regression_inputs import inputs_width, lip_articulation, regression_inputs
from avatar.motion.whisper import packaged_whisper

VOICING = -2  # column of the log-mel features
LOOKAHEAD = 4  # motion frames by which voicing is known before it begins


@dataclass(frozen=True)
class MouthMotion:
    """What a mouth does, frame by frame, and the prosody that head motion follows."""

    expression: Tensor  # [T, K], without lids
    lip_closure: Tensor  # [T] 0..1 probability of a sound that only closed lips make (p, b, m)
    voiced: Tensor  # [T] 0..1 largest voicing from this frame to `LOOKAHEAD` frames on
    prosody: Tensor  # [T, 10] of `avatar.motion.head_motion.prosody_features`

    def __len__(self) -> int:
        return len(self.lip_closure)

    def __getitem__(self, frames: slice) -> MouthMotion:
        return MouthMotion(self.expression[frames], self.lip_closure[frames], self.voiced[frames], self.prosody[frames])


@dataclass(frozen=True)
class SpeechToMotion:
    """A speech model in single precision: features [t, D] -> MouthMotion. Holds no state, so many streams share it."""

    model: SpeechModel
    encoder: Encoder

    @torch.no_grad()
    def __call__(self, features: Tensor) -> MouthMotion:
        return self.describe(regression_inputs(self.encoder, features), features, slice(None))

    def describe(self, inputs: Tensor, features: Tensor, frames: slice) -> MouthMotion:
        """Mouth motion [N] of regression inputs [N, I], which are those of some frames of features [t, D]."""
        expression = decode(self.model.decoder, inputs)
        lip_closure = lip_articulation(inputs)[:, ARTICULATION.index("lip_closure")]
        if self.model.features != DEFAULT_FEATURES:  # other features have no known columns of energy and voicing
            silent = torch.zeros(len(lip_closure), PROSODY_WIDTH)
            return MouthMotion(expression, lip_closure, torch.ones_like(lip_closure), silent)
        return MouthMotion(expression, lip_closure, *describe_sound(features, frames))


def describe_sound(features: Tensor, frames: slice) -> tuple[Tensor, Tensor]:
    """Voicing ahead [N] and prosody [N, 10] of some motion frames of log-mel features [t, 83]."""
    return voicing_ahead(features)[frames], prosody_features(to_whole_frames(features))[frames]


def open_speech_model(model: SpeechModel) -> SpeechToMotion:
    """A speech model, ready to use. Raises: UserError when its weights do not fit together."""
    kind, _, folder = model.features.partition(":")
    if kind != DEFAULT_FEATURES and not Path(folder).is_dir():  # a name on a hub is not fetched for an avatar's sake
        raise UserError(f"speech model: its audio features, {model.features[:200]}, name no folder that is here")
    own = decoder_from_tensors({name: tensor.float() for name, tensor in decoder_tensors(model.decoder).items()})
    opened = SpeechToMotion(replace(model, decoder=own), own_encoder(model))
    check_decoder(own, opened.encoder)
    return opened


def check_decoder(decoder: KernelRegression | PostNet, encoder: Encoder) -> None:
    """Raise UserError unless a decoder takes what an encoder gives."""
    width = encoder.first.in_channels
    mel = encoder.features == DEFAULT_FEATURES
    if mel and width != packaged_whisper().first.out_channels:
        raise UserError(f"speech model: its encoder takes {width} values of {DEFAULT_FEATURES}; build the avatar again")
    if isinstance(decoder, PostNet):
        found, expected = decoder.first.shape[1], (2 * REACH + 1) * len(ARTICULATION)
        fits = len(decoder.input_mean) == len(ARTICULATION)
    else:
        found, fits = len(decoder.mean), True
        expected = inputs_width(width, LogMel.width if mel else width)
    if found != expected or not fits:
        raise UserError(f"speech model: its decoder takes {found} values, expected {expected}; build the avatar again")


def own_encoder(model: SpeechModel) -> Encoder:
    """The encoder that a speech model carries. Raises: UserError when its weights are damaged."""
    try:
        return encoder_from_tensors(model.encoder, model.features)
    except ValueError as error:
        raise UserError(f"speech model: {error}; build the avatar again") from error


def decode(decoder: KernelRegression | PostNet, inputs: Tensor) -> Tensor:
    """Expression [T, K] for inputs [T, I] of `regression_inputs`."""
    return apply_postnet(decoder, inputs) if isinstance(decoder, PostNet) else predict(decoder, inputs)


def voicing_ahead(features: Tensor) -> Tensor:
    """The largest voicing [T], 0..1, from each motion frame to 4 frames on, of log-mel features [t, 83]."""
    voicing = to_whole_frames(features)[:, VOICING].view(1, 1, -1, STRIDE).amax(-1)
    return functional.max_pool1d(functional.pad(voicing, (0, LOOKAHEAD)), LOOKAHEAD + 1, stride=1)[0, 0]
