"""Fit the sync expert: python recipes/sync_expert.py TAKE... [--reference TAKE...] -o sync_expert.safetensors

TAKE: folders of `avatar preprocess`, one a person, 20 and more people, whose lips follow their sound. --reference: more
people, who count in the common reference alone, the median of all recordings' own offset. That of the package is
described in avatar/assets/sync_expert.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from avatar.core.files import UserError, check_writable
from avatar.core.take import open_take
from avatar.learn.sync_expert import fit_sync_expert, make_sync_clip
from avatar.motion.sync import save_sync_expert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("takes", nargs="+", type=Path)
    parser.add_argument("--reference", nargs="*", type=Path, default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        check_writable(options.out)
        people, more = (
            [make_sync_clip(open_take(path)) for path in paths] for paths in (options.takes, options.reference)
        )
        save_sync_expert(fit_sync_expert(people, more), options.out)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
