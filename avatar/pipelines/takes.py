"""Takes from videos and data folders, their sound put in time with their lips by the generic encoder."""

from __future__ import annotations

from pathlib import Path

from avatar.core.consent import NOT_STATED
from avatar.core.progress import Progress, no_progress
from avatar.core.stages import Stages
from avatar.core.take import Take
from avatar.motion.articulation import predict_articulation
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
    """As `preprocess.run.make_take`, with the packaged encoder."""
    return run.make_take(
        Path(video),
        Path(out),
        request,
        holdout=holdout,
        predict=predict_articulation,
        device=pick_device(device),
        progress=progress,
        stages=stages,
    )


def import_adnerf(
    folder: Path, out: Path, *, holdout: float = 0.1, consent: str = NOT_STATED, progress: Progress = no_progress
) -> Take:
    """As `preprocess.interchange.import_adnerf`, with the packaged encoder."""
    return interchange.import_adnerf(
        folder, out, holdout=holdout, consent=consent, predict=predict_articulation, progress=progress
    )
