"""What `make gpu-check` measures with, where it is not given: python -m bench.gpu_inputs FOLDER [--video V] [--take T].

Writes FOLDER/actor.mp4 (the synthetic actor, speaking), FOLDER/it.take and FOLDER/it.avatar. Exit status 77 where the
packages for that are not installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.stages import SKIPPED

SECONDS, HOLDOUT, STEPS = 8.0, 0.1, 600  # the shortest that all benches can be run with


def make(folder: Path, video: Path | None, take: Path | None, device: str) -> None:
    """Make what is not given, each of the one before: film, Take, avatar."""
    from avatar.core.recipe import Recipe
    from avatar.pipelines.build import build

    if take is None:
        from avatar.pipelines.takes import make_take
        from preprocess.actor import film_actor
        from preprocess.request import TakeRequest

        if video is None:
            video = folder / "actor.mp4"
            film_actor(video, seconds=SECONDS)
        take = folder / "it.take"
        make_take(video, take, TakeRequest(), holdout=HOLDOUT)
    build(take, folder / "it.avatar", recipe=Recipe(steps=STEPS, holdout=HOLDOUT), device=device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--take", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    options = parser.parse_args()
    try:
        make(options.folder, options.video, options.take, options.device)
    except ImportError as error:
        sys.stdout.write(f"no film, Take and avatar can be made here ({error}); give TAKE=, AVATAR= and VIDEO=\n")
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main()
