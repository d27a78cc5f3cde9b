"""Values of files within what their fields allow: looked at once, where a file is read, before anything uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from avatar.core.geometry import Camera

FPS = (1.0, 240.0)  # frames a second: what cameras record
SIZE = (16, 4096)  # px a side of a person's picture
FOCAL = (0.2, 100.0)  # of the picture's side: a fisheye lens to a telescope
PLACE_PX = 100_000.0  # of a picture that a crop may lie in
MOST_FRAMES = 1_000_000  # eleven hours of video
MOST = 1e6  # of any tensor: far beyond what training or a tracker makes, and its square is finite in single precision
DAMAGE = (KeyError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError, EOFError)
"""What damaged content makes of the code that takes it apart."""


def number(value: Any, name: str, least: float, most: float) -> float:
    """A number within its range. Raises: ValueError naming the field."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is {shown(value)}, expected a number")
    if not least <= value <= most:  # not so for NaN
        raise ValueError(f"{name} is {shown(value)}, expected {least:g} to {most:g}")
    return float(value)


def whole_number(value: Any, name: str, least: int, most: int) -> int:
    """A whole number within its range. Raises: ValueError naming the field."""
    if not isinstance(value, int):
        raise ValueError(f"{name} is {shown(value)}, expected a whole number")
    return int(number(value, name, least, most))


def numbers(values: Any, name: str, count: int, most: float) -> tuple[float, ...]:
    """So many numbers of -most to most. Raises: ValueError naming the field."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError(f"{name} is {shown(values)}, expected {count} numbers")
    return tuple(number(value, f"{name}[{index}]", -most, most) for index, value in enumerate(values))


def texts(values: Any, name: str) -> dict[str, str]:
    """Texts by name. Raises: ValueError naming the field."""
    if not isinstance(values, dict) or not all(isinstance(one, str) for one in values.values()):
        raise ValueError(f"{name} is {shown(values)}, expected texts by name")
    return values


def check_values(tensors: Mapping[str, Tensor], most: float = MOST) -> None:
    """Raise ValueError, naming the tensor, unless all values of those of floating point lie in -most to most."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            least, largest = torch.aminmax(tensor)
            if not (-most <= float(least) and float(largest) <= most):  # not so for NaN
                raise ValueError(f"{name} has values that are not numbers or not within {-most:g} to {most:g}")


def check_rotations(rotation: Tensor, name: str) -> None:
    """Raise ValueError unless matrices [..., 3, 3] are rotations, to the precision that files have."""
    error = (rotation.double() @ rotation.double().mT - torch.eye(3, dtype=torch.float64)).abs()
    if error.numel() and not (float(error.amax()) < 0.01 and bool((torch.linalg.det(rotation.double()) > 0).all())):
        raise ValueError(f"{name} are not rotations")


def read_camera(focal: Any, size: Any) -> Camera:
    """A camera of plain values. Raises: ValueError naming the field."""
    side = whole_number(size, "camera.size", *SIZE)
    return Camera(number(focal, "camera.focal", FOCAL[0] * side, FOCAL[1] * side), side)


def in_short(error: BaseException) -> str:
    """What an error says, as a part of a line: files may hold texts without an end."""
    if isinstance(error, KeyError):
        return f"{shown(error.args[0] if error.args else '')} is missing"
    text = " ".join(str(error)[:1000].split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def shown(value: Any) -> str:
    """A value as an error shows it: in one short line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits; lists in lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
