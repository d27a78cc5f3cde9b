"""CSIM: whether two pictures show the same person, by a face network of the user's (ArcFace, Deng et al. 2019)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar.core.files import UserError, check_readable
from avatar.core.landmarks import LEFT_CORNER, LEFT_EYE_OUTLINE, NOSE_TIP, RIGHT_CORNER, RIGHT_EYE_OUTLINE
from avatar.metrics.pictures import align_pictures

SIZE = 112  # px a side of the network's input
# where ArcFace puts eyes, nose and corners of the mouth in its input, px
PLACES = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


class Identity:
    """Embeds faces with an ONNX network that takes [1, 3, 112, 112] RGB in -1..1, as those of ArcFace do."""

    def __init__(self, network: Path) -> None:
        """Raises: UserError when the file is no such network, or onnxruntime is missing."""
        check_readable(network, "face network")
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{network}: needs onnxruntime; pip install 'avatar-builder[metrics]'") from error
        try:
            self._session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes, which are not public
            raise UserError(f"{network}: is not an ONNX network ({str(error).splitlines()[0][:100]})") from error
        (self._input, *others) = self._session.get_inputs()
        if others or list(self._input.shape[1:]) != [3, SIZE, SIZE]:
            raise UserError(f"{network}: takes {self._input.shape}, expected one input of 1 x 3 x {SIZE} x {SIZE}")

    def embed(self, picture: Tensor, landmarks: Tensor) -> Tensor:
        """Embedding [D] of length 1 of a picture [S, S, 3] uint8, by its landmarks [478, 3] px."""
        points = landmarks[:, :2]
        eyes = [points[list(eye)].mean(0) for eye in (LEFT_EYE_OUTLINE, RIGHT_EYE_OUTLINE)]
        five = torch.stack([*eyes, points[NOSE_TIP], points[LEFT_CORNER], points[RIGHT_CORNER]])
        grid = align_pictures(torch.tensor(PLACES), five, SIZE, len(picture))
        face = functional.grid_sample(picture.permute(2, 0, 1)[None].float(), grid, align_corners=False)
        (found, *_) = self._session.run(None, {self._input.name: (face / 127.5 - 1).numpy().astype(np.float32)})
        return functional.normalize(torch.from_numpy(found).reshape(-1).float(), dim=0)
