"""A live avatar's server, which ends when the studio does: python -m avatar.studio.talking AVATAR PORT ORIGIN

Its page stands in a frame of the studio's pages, which are of that origin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from avatar.core.files import UserError
from avatar.studio.child import end_with_stdin


def main() -> None:
    """Serve one avatar on the loopback interface."""
    from avatar.serve.app import Network
    from avatar.serve.ice import read_ice
    from avatar.serve.run import Service, Shown

    end_with_stdin()
    place, port, origin = sys.argv[1:4]
    try:
        Service([Path(place)], Network(port=int(port), framed_by=origin), Shown(), ice=read_ice(None, "")).run()
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
