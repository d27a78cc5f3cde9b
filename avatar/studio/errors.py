"""What the studio refuses, by a code that the page has its own sentence for."""

from __future__ import annotations

from typing import Any

from avatar.core.files import UserError


class RefusalError(UserError):
    """A request that is not fulfilled. Its text is English; the page puts `values` into its own sentence for `code`."""

    def __init__(self, code: str, text: str, status: int = 400, **values: Any) -> None:
        super().__init__(text)
        self.code, self.status, self.values = code, status, values

    def to_json(self) -> dict[str, Any]:
        """As the page gets it."""
        return {"error": str(self), "code": self.code, "values": self.values}


def not_found(what: str) -> RefusalError:
    """Nothing of this name is there (any more)."""
    return RefusalError("gone", f"{what[:80]}: is not here any more; reload the page", 404)
