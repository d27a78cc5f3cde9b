"""Weights that the user brings, read without running code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a .safetensors file, or of torch's own format. Raises: ValueError that says why not."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for files that are something else
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0][:100]) from error
