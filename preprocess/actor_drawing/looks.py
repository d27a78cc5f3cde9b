"""How an actor looks: three looks, chosen by the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Color = tuple[float, float, float]  # RGB 0..255
Clothes = Literal["shirt", "sweater", "jacket"]


@dataclass(frozen=True)
class Look:
    """Colours, hair and clothes."""

    skin: Color
    lips: Color
    hair: Color
    iris: Color
    hairline: tuple[tuple[float, float], ...]
    """Where hair begins: (angle around the head from straight ahead in rad, head-frame y in cm), ascending angles."""
    hair_cm: float  # how far hair stands off the skull
    curls: float  # 0 straight .. 1 curled
    long: bool  # hair down to the chin, over the ears
    beard: float  # 0 none .. 1 a short beard
    freckles: float  # share of the cheek that freckles cover
    gloss: float  # of the skin, 0..1
    clothes: Clothes
    cloth: Color
    trim: Color  # stripes, ribs or lapels

    @property
    def ears(self) -> bool:
        """Whether the ears are seen."""
        return not self.long


SHORT = ((0.0, -5.7), (0.4, -5.9), (0.75, -4.9), (0.95, -3.6), (1.15, -1.3), (1.32, 1.3), (1.47, 1.4), (1.6, -1.6),
         (1.95, -1.0), (2.15, 3.0), (3.15, 6.5))  # fmt: skip
SWEPT = ((0.0, -5.5), (0.4, -5.7), (0.8, -5.1), (1.0, -3.2), (1.2, 1.4), (1.35, 5.5), (1.5, 6.5), (3.15, 8.0))
CROPPED = ((0.0, -5.4), (0.5, -5.5), (0.8, -4.9), (0.92, -3.2), (1.08, -2.6), (1.25, 1.9), (1.45, 2.2), (1.6, -1.5),
           (1.95, -0.9), (2.15, 3.0), (3.15, 6.0))  # fmt: skip
LOOKS = (
    Look(
        skin=(222, 172, 146), lips=(190, 104, 98), hair=(74, 50, 36), iris=(84, 122, 142), hairline=SHORT, hair_cm=1.0,
        curls=0.15, long=False, beard=0.0, freckles=0.25, gloss=0.5, clothes="shirt",
        cloth=(44, 60, 102), trim=(92, 110, 152),
    ),
    Look(
        skin=(236, 194, 170), lips=(196, 92, 96), hair=(112, 62, 34), iris=(92, 116, 70), hairline=SWEPT, hair_cm=1.2,
        curls=0.3, long=True, beard=0.0, freckles=0.6, gloss=0.45, clothes="sweater",
        cloth=(150, 62, 66), trim=(176, 86, 84),
    ),
    Look(
        skin=(142, 94, 68), lips=(134, 74, 66), hair=(30, 25, 23), iris=(74, 48, 34), hairline=CROPPED, hair_cm=0.55,
        curls=1.0, long=False, beard=0.7, freckles=0.0, gloss=0.6, clothes="jacket",
        cloth=(62, 66, 72), trim=(206, 202, 192),
    ),
)  # fmt: skip


def look_of(seed: int) -> Look:
    """The look of an actor of this seed."""
    return LOOKS[seed % len(LOOKS)]
