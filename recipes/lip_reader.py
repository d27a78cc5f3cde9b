"""Fit the lip reader: python recipes/lip_reader.py TAKE... [--tested TAKE...] -o lip_reader.safetensors

TAKE: folders of `avatar preprocess`, one a person, 20 and more people, whose lips follow their sound. --tested: other
people, of whom is printed how much the reader reads. That of the package is described in avatar/assets/lip_reader.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from avatar.core.files import UserError, check_writable
from avatar.core.take import open_take
from avatar.learn.lip_reader import SpokenMouth, fit_lip_reader, make_spoken_mouth
from avatar.motion.lip_reader import SURE, VISEMES, LipReader, apply_reader, balanced_accuracy, save_lip_reader


def print_accuracy(reader: LipReader, people: list[SpokenMouth]) -> None:
    """How much of each group is read in the people's frames, all taken together."""
    read = torch.cat([apply_reader(reader, one.inputs) for one in people])
    spoken, counted = (torch.cat([getattr(one, name) for one in people]) for name in ("visemes", "counted"))
    print(f"balanced accuracy {balanced_accuracy(read, spoken, counted):.3f}")
    for index, name in enumerate(VISEMES):
        of = counted & (spoken.argmax(1) == index) & (spoken.amax(1) > SURE)
        print(f"  {name} {float((read[of].argmax(1) == index).float().mean()):.2f} of {int(of.sum())} frames")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--tested", nargs="*", type=Path, default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        check_writable(options.out)
        people, tested = (
            [make_spoken_mouth(open_take(path)) for path in paths] for paths in (options.takes, options.tested)
        )
        save_lip_reader(reader := fit_lip_reader(people), options.out)
        if tested:
            print_accuracy(reader, tested)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
