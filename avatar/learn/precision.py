"""The precision that networks are trained in on the CPU."""

from __future__ import annotations

import torch


def half_precision() -> torch.autocast:
    """Autocast to bfloat16 where the processor has instructions for it: half the time; emulated, ten times as long."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions have no such query
    return torch.autocast("cpu", torch.bfloat16, enabled=capabilities.get("avx512_bf16", False))
