"""Fit other people's lips: python recipes/people_lips.py TAKE... -o people_lips.safetensors

TAKE: folders of `avatar preprocess`, one a person, 20 and more people, whose lips follow their sound, and whose
recordings may be used for what ships. That of the package is described in avatar/assets/people_lips.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from avatar.core.files import UserError, check_writable
from avatar.core.take import open_take
from avatar.learn.people_lips import fit_people_lips, read_spoken_lips, save_people_lips
from avatar.motion.encoder import load_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options, encoder = parser.parse_args(), load_encoder()
    try:
        check_writable(options.out)
        save_people_lips(
            fit_people_lips([read_spoken_lips(open_take(path), encoder) for path in options.takes]), options.out
        )
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
