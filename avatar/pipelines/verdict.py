"""What the figures of an evaluation come to, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avatar.metrics import Score

GOOD, FAIR, POOR = GRADES = ("Good", "Fair", "Poor")


@dataclass(frozen=True)
class Standard:
    """A figure that the verdict goes by, and from where it is good, and no more than fair."""

    region: str
    metric: str
    text: str  # with the value as {}
    good: float
    fair: float
    better: Literal["higher", "lower"] = "higher"

    def grade(self, value: float) -> str:
        """One of GRADES; NaN is poor."""
        sign = 1 if self.better == "higher" else -1
        if sign * value >= sign * self.good:
            return GOOD
        return FAIR if sign * value >= sign * self.fair else POOR

    def describe(self, value: float) -> str:
        """The figure in words, with its limits."""
        word, beyond = ("from", "under") if self.better == "higher" else ("up to", "above")
        return f"{self.text.format(value)} (good {word} {self.good:g}, poor {beyond} {self.fair:g})"


# All from docs/figures.md. Avatars of clean clips draw held-out faces at 33 to 39 dB. Lips of a model have .76,
# what the loudness of the sound predicts has .34, a person's lips at another moment .17. Drawn skin flickers at .7.
STANDARDS = (
    Standard("face", "psnr", "the face is drawn at {:.1f} dB", 32.0, 28.0),
    Standard("lips seen", "opening correlation", "lips follow the sound with a correlation of {:.2f}", 0.5, 0.3),
    Standard("skin", "flicker", "skin flickers {:.2f} times as much as in the clip", 1.0, 1.5, "lower"),
)


def sum_up(scores: Sequence[Score]) -> str:
    """The verdict as a sentence: the worst grade of all standards, and what each was given for."""
    values = {(score.region, score.metric): score.value for score in scores}
    found = [(one, values[key]) for one in STANDARDS if (key := (one.region, one.metric)) in values]
    if not found:
        return "Not measured: no frame shows a face."
    worst = max((one.grade(value) for one, value in found), key=GRADES.index)
    return f"{worst}: {', '.join(one.describe(value) for one, value in found)}."
