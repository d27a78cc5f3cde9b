"""What is behind the person of a film of slides: the brand's colours, or a picture of the film's own."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar.core.files import UserError
from avatar.core.named_files import TRANSPARENT
from avatar.presenter.brand import Brand
from avatar.scene.background import open_background


class Behind:
    """Pictures behind a person in a circle or box, and behind slides that do not fill the frame; both stay still."""

    def __init__(self, brand: Brand, choice: str | None, plate: Tensor, fps: float) -> None:
        """choice: as `--background`; None: the brand's. plate: [S, S, 3] uint8, where the person was filmed.

        Raises: UserError for what moves or is transparent.
        """
        self._brand, self._choice, self._plate, self._fps = brand, choice, plate, fps
        self._panels: dict[int, Tensor] = {}
        if choice == TRANSPARENT:
            raise UserError("--background transparent: films of slides have no alpha; give a picture or colour")
        if choice is not None:
            self._picture(2, 2)

    def frame(self, width: int, height: int) -> Image.Image:
        """What lies behind slides, RGB of so many px."""
        if self._choice is None:
            return self._brand.backdrop(width, height)
        return Image.fromarray(np.asarray(self._picture(height, width)))

    def panel(self, side: int) -> Tensor:
        """What lies behind the person in their square, [S, S, 3] uint8."""
        if side not in self._panels:
            self._panels = {} if len(self._panels) > 16 else self._panels
            self._panels[side] = self._square(side)
        return self._panels[side]

    def _square(self, side: int) -> Tensor:
        if self._choice is None:
            return torch.tensor(self._brand.panel, dtype=torch.uint8).expand(side, side, 3).contiguous()
        return self._picture(side, side)

    def _picture(self, height: int, width: int) -> Tensor:
        assert self._choice is not None, "the caller looked"
        found = open_background(self._choice, (height, width), self._fps, plate=self._plate)
        if not isinstance(found, Tensor):
            raise UserError(f"--background {self._choice}: moves, which films of slides do not; give a picture")
        return found
