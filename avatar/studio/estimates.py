"""How much longer a job takes, by how far it is."""

from __future__ import annotations

import time
from typing import Any

from avatar.batch.progress import JobProgress
from avatar.core.recipe import parse_duration

FIT_OF_TRACK = 1.5  # times as long as looking at the frames takes what comes between that and the training
AFTER_TRAINING = 6.0  # s until the file is written
LEAST_SHARE = 0.04  # of a stage that must be over before its rate says anything
USUAL_TRAINING = 240.0  # s of a training that ends by itself, on two cores (docs/figures.md)


def seconds_left(job: dict[str, Any], progress: JobProgress | None, now: float | None = None) -> float | None:
    """Seconds until a running job is done; None where nothing can be said yet."""
    if progress is None:
        return None
    now = time.time() if now is None else now
    stage = _stage_left(progress, now)
    if job["kind"] != "build":
        return stage
    training = _training_seconds(job)
    if progress.stage == "track":
        whole = None if stage is None else stage + (now - progress.stage_began)
        return None if whole is None or stage is None else stage + FIT_OF_TRACK * whole + training + AFTER_TRAINING
    if progress.stage == "fit":
        tracked = progress.stage_began - progress.began
        return max(2.0, FIT_OF_TRACK * tracked - (now - progress.stage_began)) + training + AFTER_TRAINING
    if progress.stage == "train":
        return (training if stage is None else stage) + AFTER_TRAINING
    return stage


def _stage_left(progress: JobProgress, now: float) -> float | None:
    share = progress.done / progress.total if progress.total else 0.0
    spent = progress.now - progress.stage_began
    if share < LEAST_SHARE or spent <= 0:
        return None
    return max(0.0, spent / share - (now - progress.stage_began))


def _training_seconds(job: dict[str, Any]) -> float:
    if job.get("preview"):
        return 15.0
    return parse_duration(str(job["budget"]), "budget") if job.get("budget") else USUAL_TRAINING
