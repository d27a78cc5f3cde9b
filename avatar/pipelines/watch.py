"""A training to look at: pictures every ten seconds, curves in a page, and in TensorBoard where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from avatar.core.files import whole
from avatar.core.page import COMPARED, Axis, compare, to_curve, to_picture, write_page
from avatar.metrics import psnr
from avatar.render.train import TrainingSnapshot

SHOWN = 8  # pictures in the page


class TrainingView:
    """Takes the glimpses of a training and keeps a folder up to date: 0010s.png ..., report.html."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._times: list[float] = []
        self._losses: list[float] = []
        self._psnr: list[float] = []
        self._pictures: list[str] = []  # HTML
        self._board = _open_board(folder)
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, glimpse: TrainingSnapshot) -> None:
        drawn, truth = _to_bytes(glimpse.drawn), _to_bytes(glimpse.truth)
        picture = compare(truth.numpy(), drawn.numpy())
        with whole(self._folder / f"{round(glimpse.seconds):04d}s.png") as temporary:
            Image.fromarray(picture).save(temporary)
        self._times.append(glimpse.seconds)
        self._losses.append(glimpse.loss)
        self._psnr.append(psnr(drawn, truth))
        self._pictures.append(to_picture(picture, f"after {glimpse.seconds:.0f} s: {COMPARED}"))
        if self._board is not None:
            self._board.add_scalar("loss", glimpse.loss, round(glimpse.seconds))
            self._board.add_scalar("psnr of the frame at hand", self._psnr[-1], round(glimpse.seconds))
            self._board.flush()
        self._write()

    def _write(self) -> None:
        axis = Axis(self._times[-1])
        curves = to_curve({"loss, mean of ten seconds": self._losses}, axis)
        curves += to_curve({"PSNR of a training frame": self._psnr}, axis, unit="dB")
        chosen = np.unique(np.linspace(0, len(self._pictures) - 1, SHOWN).round().astype(int))
        pictures = "".join(self._pictures[i] for i in chosen[::-1])
        sections = [("Curves", curves), ("Frames that are trained on", pictures)]
        write_page(self._folder / "report.html", "Training", f"after {self._times[-1]:.0f} s", sections)


def _to_bytes(picture: Tensor) -> Tensor:
    return (picture.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0)


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
