"""LPIPS (Zhang et al. 2018): how different two pictures look, by features of AlexNet. Weights are the user's."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError
from avatar.metrics.weights import load_weights
from cuda_ext.shapes import check_shapes

BACKBONE, LINEAR = "alexnet*", "alex.*"  # names of files, as torchvision and lpips have them
# index in torchvision's AlexNet, stride, padding, pooled before; the features are what follows each convolution's ReLU
LAYERS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
SHAPES = ("64 3 11 11", "192 64 5 5", "384 192 3 3", "256 384 3 3", "256 256 3 3")
MEAN, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in -1..1, as in the paper's code
EPSILON = 1e-10


class Lpips:
    """The distance, with weights from a folder."""

    def __init__(self, folder: Path) -> None:
        """folder: with torchvision's AlexNet (`alexnet*.pth`) and the linear weights of lpips 0.1 (`alex.pth`).

        Both may be .safetensors. Raises: UserError when one is missing or is something else.
        """
        backbone, linear = (_load(_find(folder, name)) for name in (BACKBONE, LINEAR))
        try:
            self._convolutions = [
                (backbone[f"features.{i}.weight"], backbone[f"features.{i}.bias"]) for i, *_ in LAYERS
            ]
            self._linear = [linear[f"lin{i}.model.1.weight"] for i in range(len(LAYERS))]
            for shape, (weight, _), lin in zip(SHAPES, self._convolutions, self._linear, strict=True):
                check_shapes("lpips", {"weight": (weight, shape), "linear": (lin, f"1 {shape.split()[0]} 1 1")})
        except (KeyError, ValueError) as error:
            raise UserError(f"{folder}: holds no weights of AlexNet and LPIPS 0.1 ({error})") from error

    def __call__(self, image: Tensor, truth: Tensor) -> float:
        """Distance of pictures [S, S, 3] uint8, at least 64 px a side; 0 when equal."""
        pair = torch.stack([image, truth]).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            features = self._features((pair - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SCALE)[:, None, None])
            parts = [
                functional.conv2d((feature[:1] - feature[1:]).square(), linear).mean()
                for feature, linear in zip(features, self._linear, strict=True)
            ]
        return float(torch.stack(parts).sum())

    def _features(self, picture: Tensor) -> list[Tensor]:
        """Features of every layer [B, C, h, w], of length 1 at each place."""
        found = []
        for (_, stride, padding, pooled), (weight, bias) in zip(LAYERS, self._convolutions, strict=True):
            picture = functional.max_pool2d(picture, 3, 2) if pooled else picture
            picture = functional.relu(functional.conv2d(picture, weight, bias, stride, padding))
            found.append(picture / (picture.norm(dim=1, keepdim=True) + EPSILON))
        return found


def find_weights(folder: Path | None) -> Path | None:
    """The folder with weights: the one given, or torch's cache if it holds both files; None when there is none."""
    if folder is not None:
        return folder
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return cache if any(cache.glob(BACKBONE)) and any(cache.glob(LINEAR)) else None


def _find(folder: Path, pattern: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.suffix in (".pth", ".safetensors"))
    if not found:
        raise UserError(f"{folder}: holds no {pattern} (.pth or .safetensors); docs/tasks.md says where it is from")
    return found[0]


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_weights(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as weights ({error})") from error
