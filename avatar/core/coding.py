"""How pictures are packed into a film, as far as a person chooses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Codec = Literal["h264", "hevc", "av1"]
Quality = Literal["draft", "good", "best"]


@dataclass(frozen=True)
class Coding:
    """How pictures are packed into a film."""

    codec: Codec = "h264"
    quality: Quality = "good"
