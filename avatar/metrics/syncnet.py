"""LSE-C and LSE-D: how well lips and sound belong together, by SyncNet (Chung and Zisserman 2016)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar.core.files import UserError, check_readable
from avatar.core.media import SAMPLE_RATE
from avatar.metrics.weights import load_weights

SIZE = 224  # px a side of its input face
WINDOW, AUDIO_WINDOW, AUDIO_RATE = 5, 20, 4  # video frames; sound frames; of them in a video frame, at 25 frames/s
MOST_SHIFT = 15  # frames
BATCH = 16
BESIDE = 0.4  # of a face's half size, around it, as syncnet_python crops


class SyncScores(NamedTuple):
    """SyncNet's scores of a clip (Prajwal et al. 2020, Wav2Lip, section 4.3)."""

    confidence: float  # LSE-C, higher is better: the median over shifts of the mean distance, less the least
    distance: float  # LSE-D, lower is better: the least of them
    offset: int  # frames that the sound is late


class SyncNet:
    """The two networks, in their published layout."""

    def __init__(self, weights: Path) -> None:
        """weights: `syncnet_v2.model` of syncnet_python. Raises: UserError when it is something else."""
        check_readable(weights, "SyncNet weights")
        self._network = _Network().eval()
        try:
            self._network.load_state_dict(load_weights(weights))
        except (ValueError, RuntimeError, TypeError) as error:
            raise UserError(f"{weights}: holds no SyncNet weights ({str(error).splitlines()[0][:100]})") from error

    @torch.inference_mode()
    def compare(self, frames: Tensor, landmarks: Tensor, audio: Tensor) -> SyncScores:
        """Scores of pictures [T, S, S, 3] uint8 at 25 frames/s with landmarks [T, 478, 3] px, and their sound [n].

        Raises: UserError when there are fewer than 10 frames, or python_speech_features is missing.
        """
        coefficients = _cepstrum(audio)
        count = min(len(frames), len(coefficients) // AUDIO_RATE) - WINDOW
        if count < WINDOW:
            raise UserError(f"SyncNet needs {2 * WINDOW} frames and more, there are {len(frames)}")
        faces = _crop(frames, landmarks)
        lips, sounds = [], []
        for start in range(0, count, BATCH):
            each = range(start, min(start + BATCH, count))
            lips.append(self._network.forward_lip(torch.stack([faces[:, i : i + WINDOW] for i in each])))
            cepstra = [coefficients[AUDIO_RATE * i : AUDIO_RATE * i + AUDIO_WINDOW].T[None] for i in each]
            sounds.append(self._network.forward_aud(torch.stack(cepstra)))
        return score_sync(torch.cat(lips), torch.cat(sounds))


def score_sync(lips: Tensor, sounds: Tensor) -> SyncScores:
    """Scores of embeddings [T, D] of lips and sounds of the same frames; shifts of up to 15 frames are tried."""
    padded = functional.pad(sounds, (0, 0, MOST_SHIFT, MOST_SHIFT))
    shifts = range(2 * MOST_SHIFT + 1)
    means = torch.stack([functional.pairwise_distance(lips, padded[i : i + len(lips)]).mean() for i in shifts])
    least = int(means.argmin())
    return SyncScores(float(means.median() - means[least]), float(means[least]), least - MOST_SHIFT)


def _cepstrum(audio: Tensor) -> Tensor:
    """Mel-frequency cepstral coefficients [100 a second, 13] of sound [n] at SAMPLE_RATE."""
    try:
        from python_speech_features import mfcc
    except ImportError as error:
        raise UserError("SyncNet needs python_speech_features; pip install 'avatar-builder[metrics]'") from error
    return torch.from_numpy(mfcc((audio * 32767).round().numpy(), SAMPLE_RATE)).float()


def _crop(frames: Tensor, landmarks: Tensor) -> Tensor:
    """Faces [3, T, 224, 224] in blue, green, red of 0..255: a square about each, reaching below the chin."""
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    half = (high - low).amax(1) / 2
    center = (low + high) / 2 + torch.stack([torch.zeros_like(half), BESIDE * half], 1)
    steps = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    faces = []
    for frame, middle, reach in zip(frames, center, half * (1 + BESIDE), strict=True):
        grid = (middle + reach * offsets) / len(frame) * 2 - 1
        picture = frame.flip(-1).permute(2, 0, 1)[None].float()
        faces.append(functional.grid_sample(picture, grid[None], align_corners=False)[0])
    return torch.stack(faces, 1)


class _Network(nn.Module):
    """Named as in the published weights: netcnnaud and netfcaud for sound, netcnnlip and netfclip for lips."""

    def __init__(self) -> None:
        super().__init__()
        plane, volume = (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)
        self.netcnnaud = nn.Sequential(
            *_block(plane, 1, 64, 3, padding=1), nn.MaxPool2d(1, 1),
            *_block(plane, 64, 192, 3, padding=1), nn.MaxPool2d(3, (1, 2)),
            *_block(plane, 192, 384, 3, padding=1),
            *_block(plane, 384, 256, 3, padding=1),
            *_block(plane, 256, 256, 3, padding=1), nn.MaxPool2d(3, 2),
            *_block(plane, 256, 512, (5, 4)),
        )  # fmt: skip
        inside = (0, 1, 1)
        self.netcnnlip = nn.Sequential(
            *_block(volume, 3, 96, (5, 7, 7), stride=(1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(volume, 96, 256, (1, 5, 5), stride=(1, 2, 2), padding=inside),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), inside),
            *_block(volume, 256, 256, (1, 3, 3), padding=inside),
            *_block(volume, 256, 256, (1, 3, 3), padding=inside),
            *_block(volume, 256, 256, (1, 3, 3), padding=inside), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(volume, 256, 512, (1, 6, 6)),
        )  # fmt: skip
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024)) for _ in range(2)
        )

    def forward_aud(self, coefficients: Tensor) -> Tensor:
        """[B, 1, 13, 20] -> [B, 1024]."""
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))

    def forward_lip(self, faces: Tensor) -> Tensor:
        """[B, 3, 5, 224, 224] -> [B, 1024]."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def _block(kinds: tuple[type, type], inputs: int, outputs: int, kernel: int | tuple, **options: object) -> list:
    convolution, norm = kinds
    return [convolution(inputs, outputs, kernel, **options), norm(outputs), nn.ReLU()]
