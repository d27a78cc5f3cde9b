"""One check for shapes: the error names the culprit."""

from __future__ import annotations

from typing import Any


def check_shapes(owner: str, tensors: dict[str, tuple[Any, str]]) -> dict[str, int]:
    """Check that tensors agree on their letters, e.g. {"expression": (tensor, "T K")}; a digit is an exact size.

    Returns the value of each letter.
    Raises: ValueError such as "Track.expression is [499, 32], expected [T, K] with T = 500 (from landmarks)".
    """
    values: dict[str, int] = {}
    origin: dict[str, str] = {}
    for name, (tensor, letters) in tensors.items():
        expected = letters.split()
        shape = tuple(tensor.shape)
        problem = "" if len(shape) == len(expected) else "?"
        if not problem:
            for size, letter in zip(shape, expected, strict=True):
                if letter.isdigit():
                    if size != int(letter):
                        problem = "!"
                elif letter in values:
                    if size != values[letter]:
                        problem = f" with {letter} = {values[letter]} (from {origin[letter]})"
                else:
                    values[letter] = size
                    origin[letter] = name
                if problem:
                    break
        if problem:
            hint = problem if problem.startswith(" ") else ""
            raise ValueError(f"{owner}.{name} is {list(shape)}, expected [{', '.join(expected)}]{hint}")
    return values
