"""How a person moves of whom there is only a photo: like nobody in particular.

Speech: the packaged encoder predicts the lips of an average speaker; a person's expressions follow from the size of
their mouth. Head, shoulders, gaze, brows: slow noise of a calm speaker's amount, with nods on the voice's stress. Both
are made beside the package's synthesized speech, so that a motion graph finds a manner for any sound. Nothing of it is
measured on anybody's film.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.core.avatar_file import SpeakingStyle
from avatar.core.files import UserError
from avatar.core.geometry import exponential
from avatar.core.landmarks import BROWS, LEFT_CORNER, LEFT_EYE, RIGHT_CORNER, RIGHT_EYE
from avatar.core.lips import CURVES, read_lips
from avatar.core.motion_space import Motion, MotionSpace, load_space
from avatar.core.speech_model import SpeechModel
from avatar.core.take import Track
from avatar.learn.regression import RegressionRows, fit_regression, in_half_precision
from avatar.learn.synthetic_samples import FRAME_STEP, load_synthetic_speech
from avatar.motion.behaviour import SHUT_QUANTILE, smooth
from avatar.motion.encoder import STRIDE, Encoder, load_encoder, to_whole_frames
from avatar.motion.features import DEFAULT_FEATURES
from avatar.motion.head_motion import prosody_features
from avatar.motion.regression import predict
from avatar.motion.regression_inputs import average_lips, regression_inputs

FPS = 25.0
UTTERANCES = 30  # of the synthesized ones: a minute and a half, which is as good as three
TURN_DEGREES = (1.3, 1.8, 0.9)  # deviations of pitch, yaw, roll: a newsreader's, about half of a lively speaker's
SHIFT_CM = (0.18, 0.1, 0.18)
SWAY, SWAY_LATER = 0.35, 8.0  # of the head's shift that shoulders follow with; frames that they are smoother by
GAZE = (0.06, 0.04)
BROW_CM = 0.07
NOD_DEGREES = 0.8  # of a syllable whose energy is a deviation above the usual
DRIFT, MOVE = (60.0, 0.7), (12.0, 0.7)  # the two parts of the noise: frames of the Gaussian it is filtered by; share
LEAVING = 50.0  # frames in which the motion leaves the photo's pose, which it begins at
NOD_FRAMES = 4.0  # a nod takes about half a second
BLINKS = (0.25, 0.2)  # a second; seconds each: 15 a minute, as people do at rest
USUAL_MOUTH_CM = 5.0  # corner to corner; then the opening deviates by .37 cm, people's by .22 to .52
MOUTH_SIZES = (0.8, 1.25)
SHUT_LID = 0.03  # gap of the lids of a shut eye, cm


@torch.no_grad()
def photo_manner(track: Track, *, seed: int, encoder: Encoder | None = None) -> tuple[SpeechModel, SpeakingStyle]:
    """Speech model and manner of a person of whom there is a photo: the first frame of the track.

    encoder: the packaged one, or another of the same audio features; seed: of the motion's noise.
    Raises: UserError for an encoder of other audio features.
    """
    space, encoder = load_space(), encoder or load_encoder()
    if encoder.features != DEFAULT_FEATURES:
        raise UserError(f"encoder: takes {encoder.features}; an avatar of a photo speaks by {DEFAULT_FEATURES} only")
    inputs, prosody = _synthetic_inputs(encoder)
    reading = read_lips(space.basis)[:, : len(CURVES)]
    target = expressions_of(average_lips(inputs), reading, _mouth_size(track))
    decoder = fit_regression([RegressionRows(inputs[::FRAME_STEP], target[::FRAME_STEP], 1.0)])
    slope = lid_slope(track, space)
    own = calm_motion(track, predict(decoder, inputs), prosody, space, seed)
    speech = SpeechModel(
        encoder.features,
        {name: tensor.half() for name, tensor in encoder.state_dict().items()},
        in_half_precision(decoder),
        target.mean(0),
        slope,
        reading[:, 0].contiguous(),
        prosody,
    )
    return speech, SpeakingStyle(*BLINKS, 0.0, own)


def _synthetic_inputs(encoder: Encoder) -> tuple[Tensor, Tensor]:
    """Regression inputs [T, I] and prosody [T, 10] of the package's synthesized speech."""
    synthetic = load_synthetic_speech()
    parts = synthetic.features.split([STRIDE * length for length in synthetic.lengths])[:UTTERANCES]
    inputs = torch.cat([regression_inputs(encoder, part) for part in parts])
    return inputs, torch.cat([prosody_features(to_whole_frames(part)) for part in parts])


def _mouth_size(track: Track) -> float:
    """How large the mouth is, of the usual: larger lips move further."""
    width = float((track.neutral[RIGHT_CORNER] - track.neutral[LEFT_CORNER]).norm())
    low, high = MOUTH_SIZES
    return min(high, max(low, width / USUAL_MOUTH_CM))


def expressions_of(curves: Tensor, reading: Tensor, size: float) -> Tensor:
    """The likeliest expressions [T, K] of lip curves [T, 3] in standard units; reading: [K, 3] cm of a unit of a mode.

    Modes have unit variance over people who speak, so a curve's deviation is the norm of its column. Lips are shut
    where the opening is as small as it is in few frames of speech.
    """
    wanted = size * curves * reading.norm(dim=0)
    wanted = wanted - wanted.mean(0)
    wanted[:, 0] -= wanted[:, 0].quantile(SHUT_QUANTILE)
    return wanted @ torch.linalg.pinv(reading)


def lid_slope(track: Track, space: MotionSpace) -> Tensor:
    """Change of expression [K] that shuts the eyes: each lid's mode, as far as the lids of the mesh are apart."""
    slope = torch.zeros(len(space.basis))
    for mode, eye in enumerate((LEFT_EYE, RIGHT_EYE)):
        gap = float(track.neutral[eye.lower, 1] - track.neutral[eye.upper, 1])
        moves = float(space.basis[mode, eye.lower, 1] - space.basis[mode, eye.upper, 1])
        slope[mode] = (SHUT_LID - gap) / moves
    return slope


def calm_motion(track: Track, lips: Tensor, prosody: Tensor, space: MotionSpace, seed: int) -> Motion:
    """Motion about the first frame's pose, beside the expressions [T, K] of speech of a prosody [T, 10].

    Its own expression stays beneath the lips', that of brows is added; eyes are open, and look at where they did.
    """
    count, draw = len(lips), torch.Generator().manual_seed(seed)
    turn, shift, brows, looks = (_noise(count, width, draw) for width in (3, 3, 1, 2))
    turn = turn * torch.tensor(TURN_DEGREES).deg2rad()
    stress = prosody[:, 0] - smooth(prosody[:, :1], DRIFT[0])[:, 0]
    stress = smooth((stress / stress.std().clamp_min(1e-6))[:, None], NOD_FRAMES)[:, 0]
    turn[:, 0] += NOD_DEGREES * stress * torch.pi / 180  # down, as y is
    shift = shift * torch.tensor(SHIFT_CM)
    gaze = track.eyes[:1, 2:] + looks * torch.tensor(GAZE)
    raise_brows = _brow_mode(space)
    up = BROW_CM * (brows + 0.5 * stress[:, None]) * raise_brows
    return Motion(
        track.expression.new_zeros(count, len(space.basis)) + lips + up,
        torch.cat([track.eyes[:1, :2].expand(count, -1), gaze], 1),
        exponential(turn) @ track.rotation[0],
        track.translation[0] + shift,
        _follow(track, shift),
        FPS,
        space.id,
    )


def _noise(count: int, width: int, draw: torch.Generator) -> Tensor:
    """Slow noise [T, W] of unit variance, which begins at 0."""
    parts = []
    for frames, share in (DRIFT, MOVE):
        slow = smooth(torch.randn(count, width, generator=draw), frames)
        parts.append(share * slow / slow.std(0).clamp_min(1e-6))
    noise = torch.stack(parts).sum(0)
    return noise - noise[0] * torch.exp(-torch.arange(count) / LEAVING)[:, None]


def _follow(track: Track, shift: Tensor) -> Tensor:
    """The shoulders' motion [T, 4] that follows a head's shift [T, 3] cm, in px of the track's pictures."""
    later = SWAY * smooth(shift, SWAY_LATER)
    depth = track.translation[0, 2]
    px = (track.landmarks[0, RIGHT_EYE.outer] - track.landmarks[0, LEFT_EYE.outer])[:2].norm()
    cm = (track.neutral[RIGHT_EYE.outer] - track.neutral[LEFT_EYE.outer]).norm()
    scale = -later[:, 2:] / depth  # nearer is larger
    return torch.cat([later[:, :2] * px / cm, scale, torch.zeros(len(shift), 1)], 1)


def _brow_mode(space: MotionSpace) -> Tensor:
    """The least expression [K] that raises both brows by 1 cm and leaves the lips as they are."""
    brows = torch.stack([-space.basis[:, list(side), 1].mean(1) for side in BROWS], 1)
    lids = torch.eye(len(space.basis))[:, : len(BROWS)]  # the first modes
    rows = torch.cat([brows, read_lips(space.basis), lids], 1)  # [K, 8]
    wanted = torch.cat([torch.ones(len(BROWS)), torch.zeros(rows.shape[1] - len(BROWS))])
    return wanted @ torch.linalg.pinv(rows)
