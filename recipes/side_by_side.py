"""Two films beside each other as a silent picture that moves: python recipes/side_by_side.py REAL DRAWN -o OUT.webp

The picture of README.md is the last second of the film of `avatar demo`, which its avatar has not been trained on:

    avatar render actor.avatar --track actor.take -o drawn.mp4
    python recipes/side_by_side.py actor.mp4 drawn.mp4 --start 9 --seconds 1 -o docs/actor.webp
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from avatar.core.files import UserError, check_writable, whole
from avatar.core.media import read_video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path, nargs=2)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the first film: where the second begins")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=320, help="height in px")
    parser.add_argument("--fps", type=float, default=12.5)
    options = parser.parse_args()
    first, count = round(options.start * options.fps), round(options.seconds * options.fps)
    try:
        check_writable(options.out)
        films = [read_video(film, size=options.size, fps=options.fps) for film in options.films]
        real, drawn = islice(films[0], first, None), films[1]
        pairs = list(islice(zip(real, drawn, strict=False), count))
    except UserError as error:
        sys.exit(str(error))
    pictures = [Image.fromarray(np.hstack(pair)) for pair in pairs]
    pictures += pictures[-2:0:-1]  # and back, so that no jump is seen where it begins again
    with whole(options.out) as temporary:
        duration = round(1000 / options.fps)
        pictures[0].save(
            temporary,
            "WEBP",
            save_all=True,
            append_images=pictures[1:],
            duration=duration,
            loop=0,
            quality=70,
            method=4,
        )


if __name__ == "__main__":
    main()
