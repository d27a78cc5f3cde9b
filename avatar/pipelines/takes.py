"""Takes from videos and data folders, their sound put in time with their lips by the sync expert."""

from __future__ import annotations

from pathlib import Path

from avatar.core.consent import NOT_STATED
from avatar.core.files import UserError
from avatar.core.progress import Progress, no_progress
from avatar.core.stages import Stages
from avatar.core.take import Take
from avatar.motion.sync import open_sync
from avatar.render.device import DeviceName, pick_device
from preprocess import interchange, photo, run
from preprocess.best_view import best_still
from preprocess.photo_files import is_photo, read_photo
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
    """As `preprocess.run.make_take`, with the sync expert; of a photo or a folder of them, as `make_photo_take`."""
    if photos := photos_of(Path(video)):
        return make_photo_take(photos, Path(out), request or TakeRequest(), device=device, stages=stages)
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


def photos_of(source: Path) -> list[Path]:
    """The photos that an avatar's source is: itself, or all of a folder that holds nothing else; else none."""
    if source.is_dir():
        inside = sorted(path for path in source.iterdir() if not path.name.startswith("."))
        return inside if inside and all(is_photo(path) and path.is_file() for path in inside) else []
    return [source] if is_photo(source) else []


def make_photo_take(
    photos: list[Path], out: Path, request: TakeRequest, *, device: DeviceName = "cpu", stages: Stages | None = None
) -> Take:
    """The Take of photos of one person, or of the frame of one clip that is most like a photo. Raises: UserError."""
    stages = stages or Stages()
    for name in ("audio_track", "seconds", "landmarker"):
        if getattr(request, name) is not None:
            raise UserError(f"{photos[0]}: is used as a photo, to which --{name.replace('_', '-')} does not apply")
    with stages.time("photo"):
        opened = pick_device(device)
        read = [read_photo(one) if is_photo(one) else best_still(one, request, opened) for one in photos]
        return photo.make_photo_take(read, out, request, device=opened)
