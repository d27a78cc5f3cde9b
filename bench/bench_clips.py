"""Which clips an avatar is built of without --force: python -m bench.bench_clips CLIP... [-o FOLDER].

Every clip is preprocessed and built with a few steps, as `avatar build` does; nothing is said of how good the avatars
are. Takes and avatars stay in the folder, so that a run that was stopped goes on. Prints a table, and keeps it with
what other runs said of other clips in bench/results/clips.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from avatar.core.files import UserError, whole
from avatar.core.recipe import Recipe
from avatar.core.take import open_take
from avatar.pipelines.build import build
from preprocess.checks import assess_quality

RECIPE = Recipe(size=256, train_size=128, steps=20)
RESULTS = Path(__file__).parent / "results" / "clips.json"
SHOWN = ("seconds", "usable", "mouth_covered", "camera_px", "plate_error")


@dataclass(frozen=True)
class Tried:
    """What became of a clip."""

    clip: str
    built: bool
    words: str  # the Take's verdict, or why the clip was refused
    left_out: dict[str, float]  # share of the frames by reason
    figures: dict[str, float]
    spent: float  # s


def try_clip(clip: Path, folder: Path) -> Tried:
    """Build of a clip; its Take and avatar are written into the folder, or used again."""
    start, out = time.perf_counter(), folder / f"{clip.stem}.avatar"
    words, built = "", True
    try:
        build(clip, out, recipe=RECIPE, device="cpu")
    except UserError as error:
        words, built = str(error).removeprefix(f"{clip}: "), False
    left_out: dict[str, float] = {}
    figures: dict[str, float] = {}
    if out.with_suffix(".take").is_dir():
        take = open_take(out.with_suffix(".take"))
        words = words or str(assess_quality(take.quality))
        figures = {name: round(take.quality[name], 3) for name in SHOWN if name in take.quality}
        for span in take.excluded:
            share = (span.stop - span.start) / take.length
            left_out[span.reason] = round(left_out.get(span.reason, 0.0) + share, 3)
    return Tried(clip.stem, built, words, left_out, figures, round(time.perf_counter() - start, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("-o", "--out", type=Path, default=Path("clips_tried"), help="folder for Takes and avatars")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", UserWarning)
    rows = {row["clip"]: row for row in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    tried = []
    for clip in options.clips:
        tried.append(one := try_clip(clip, options.out))
        rows[one.clip] = asdict(one)
        print(f"| {one.clip} | {'built' if one.built else 'refused'} | {one.words} | {one.left_out} |", flush=True)
        with whole(RESULTS) as temporary:
            temporary.write_text(json.dumps(list(rows.values()), indent=1))
    print(f"{sum(one.built for one in tried)} of {len(tried)} clips built without --force")


if __name__ == "__main__":
    main()
