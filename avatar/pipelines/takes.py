"""Takes from videos and data folders, their sound put in time with their lips by the generic encoder."""

from __future__ import annotations

from pathlib import Path

from avatar.core.take import Take
from avatar.motion.hear import hear
from avatar.pipelines.bars import stage_bars
from preprocess import interchange, run
from preprocess.run import Wishes


def make_take(video: Path | str, out: Path | str, wishes: Wishes | None = None, *, holdout: float = 0.1) -> Take:
    """As `preprocess.run.make_take`, with progress bars."""
    with stage_bars() as progress:
        return run.make_take(Path(video), Path(out), wishes, holdout=holdout, hear=hear, progress=progress)


def import_adnerf(folder: Path, out: Path, *, holdout: float = 0.1) -> Take:
    """As `preprocess.interchange.import_adnerf`, with progress bars."""
    with stage_bars() as progress:
        return interchange.import_adnerf(folder, out, holdout=holdout, hear=hear, progress=progress)
