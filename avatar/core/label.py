"""Which visible label says that a picture was generated, and what a file's metadata says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from avatar.core.files import UserError

LabelKind = Literal["none", "text", "icon", "cn", "eu"]


@dataclass(frozen=True)
class Label:
    """Which visible label a picture has, and for how long."""

    kind: LabelKind = "none"
    seconds: float | None = None  # from the beginning; None: as the kind has it
    producer: str = ""  # who is named in the AIGC field of `cn`

    def __post_init__(self) -> None:
        """Raise UserError for what cannot be shown, or says too little."""
        if self.kind == "cn" and not self.producer.strip():
            raise UserError("--label cn: its AIGC field names who made the film; add --producer NAME")
        if self.seconds is not None and self.kind == "none":
            raise UserError("--label-seconds: there is no label; add --label text, icon, cn or eu")

    def metadata(self, number: int) -> dict[str, str]:
        """What a file's metadata says of a film of this number: the field AIGC of GB 45438-2025 for `cn`."""
        if self.kind != "cn":
            return {}
        fields = {"Label": "1", "ContentProducer": self.producer, "ProduceID": f"{number:08x}", "ReservedCode1": ""}
        fields |= {"ContentPropagator": "", "PropagateID": "", "ReservedCode2": ""}
        return {"AIGC": json.dumps(fields, ensure_ascii=False)}
