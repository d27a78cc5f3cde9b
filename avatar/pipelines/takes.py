"""Takes from videos and data folders, their sound put in time with their lips by the sync expert."""

from __future__ import annotations

from pathlib import Path

from avatar.core.consent import NOT_STATED
from avatar.core.progress import Progress, no_progress
from avatar.core.stages import Stages
from avatar.core.take import Take
from avatar.motion.sync import open_sync
from avatar.render.device import DeviceName, pick_device
from preprocess import interchange, run
from preprocess.request import TakeRequest


def make_take(
    video: Path | str,
    out: Path | str,
    request: TakeRequest | None = None,
    *,
    holdout: float = 0.1,
    device: DeviceName = "cpu",
    progress: Progress = no_progress,
    stages: Stages | None = None,
) -> Take:
    """As `preprocess.run.make_take`, with the sync expert."""
    return run.make_take(
        Path(video),
        Path(out),
        request,
        holdout=holdout,
        open_sync=open_sync,
        device=pick_device(device),
        progress=progress,
        stages=stages,
    )


def import_adnerf(
    folder: Path, out: Path, *, holdout: float = 0.1, consent: str = NOT_STATED, progress: Progress = no_progress
) -> Take:
    """As `preprocess.interchange.import_adnerf`, with the sync expert."""
    return interchange.import_adnerf(
        folder, out, holdout=holdout, consent=consent, open_sync=open_sync, progress=progress
    )
