"""Where a person stands in a picture: place, size and crop, on the picture's lower edge."""

from __future__ import annotations

import re
from dataclasses import dataclass

from avatar.core.files import UserError
from avatar.scene.still import Shape

SIDES = {"left": 0.0, "middle": 0.5, "right": 1.0}
LIMITS = {"size": (0.1, 3.0), "crop": (0.0, 0.6)}
LEAST_PX, MOST_PX = 64, 4096  # of a picture's sides
USUAL = (1080, 1920)  # height and width of a picture that has no size of its own
MOST_OWN = 1920 * 1080  # px of a picture that is as large as its background; more must be asked for


@dataclass(frozen=True)
class Place:
    """Where a person's square stands."""

    across: float = 0.5  # 0 at the picture's left edge, 1 at its right one
    size: float = 0.9  # side of the square, a share of the picture's height
    crop: float = 0.0  # of the square's height, what lies below the picture's edge

    def side(self, shape: Shape) -> int:
        """Side of the square, px; even."""
        return max(LEAST_PX, round(self.size * shape[0] / 2) * 2)

    def corner(self, shape: Shape) -> tuple[int, int]:
        """Left and top of the square, px, even, as chroma is halved; outside of the picture where it is larger."""
        side = self.side(shape)
        left, top = self.across * (shape[1] - side), shape[0] - side * (1 - self.crop)
        return 2 * round(left / 2), 2 * round(top / 2)


def parse_place(text: str) -> Place:
    """`left`, `middle`, `right` or 0..1, then `,size=0.8` and `,crop=0.1` in any order. Raises: UserError."""
    where, *others = (part.strip() for part in text.split(","))
    values = {"across": SIDES[where]} if where in SIDES else {"across": _number(text, "place", where, (0.0, 1.0))}
    for other in others:
        name, _, value = (part.strip() for part in other.partition("="))
        if name not in LIMITS or name in values:
            raise UserError(f"--place {text}: write left, middle, right or a share of the width, then size= and crop=")
        values[name] = _number(text, name, value, LIMITS[name])
    return Place(**values)


def _number(text: str, name: str, value: str, limits: tuple[float, float]) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not limits[0] <= number <= limits[1]:
        word = "left, middle, right or a number" if name == "place" else "a number"
        raise UserError(f"--place {text}: {name} must be {word} from {limits[0]:g} to {limits[1]:g}, not '{value}'")
    return number


def parse_frame(text: str) -> Shape:
    """`1920x1080` as height and width px. Raises: UserError."""
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip())
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if any(side % 2 or not LEAST_PX <= side <= MOST_PX for side in (width, height)):
        raise UserError(
            f"--frame {text}: write WIDTHxHEIGHT in px, such as 1920x1080, even and {LEAST_PX} to {MOST_PX} each"
        )
    return height, width


def usual_frame(own: Shape | None) -> Shape:
    """The picture's size before a background of a size: that, even, and 1080p at most."""
    height, width = own or USUAL
    scale = min(1.0, (MOST_OWN / (height * width)) ** 0.5)
    return max(LEAST_PX, int(height * scale) // 2 * 2), max(LEAST_PX, int(width * scale) // 2 * 2)
