"""Damage to files: bytes, texts, trees of values, tensors, pictures. Every draw comes from the caller's generator."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

DEEP = 100_000  # levels of lists in lists: more than any parser's stack
NUMBERS = (0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 10**300, 10**5000, 0.5, -0.0, 1e-300, 1e38, 1e308)
OTHERS = (
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x",
    "\0",
    "é\n\t",
    "../../etc/passwd",
    None,
    True,
    [],
    {},
    [[]],
)
FLOATS = (float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e30, 1e-38, 0.0, -1.0, 6e4, 1e7)
WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}
ARRAYS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bits turned, a part lost, copied, or put in elsewhere."""
    if not data:
        return b"\xff"
    at, size = rng.randrange(len(data)), rng.choice((1, 8, 100, 4096))
    whole = bytearray(data)
    match rng.randrange(6):
        case 0:
            for _ in range(rng.choice((1, 4, 64))):
                whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        case 1:
            return data[:at]
        case 2:
            del whole[at : at + size]
        case 3:
            start = rng.randrange(len(data))
            whole[at : at + size] = data[start : start + size]
        case 4:
            whole[at:at] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
        case 5:
            early = rng.randrange(min(len(data), 64))  # where lengths and magic numbers are
            whole[early] = rng.choice((0, 1, 127, 128, 255))
    return bytes(whole)


def extreme(rng: random.Random) -> Any:
    """A value that no file should have there."""
    match rng.randrange(8):
        case 0:
            return "x" * rng.choice((10_000, 3_000_000))
        case 1:
            return _nested(rng.choice((50, 2000)))
        case 2 | 3:
            return rng.choice(OTHERS)
        case _:
            return rng.choice(NUMBERS)


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def damage_tree(tree: Any, rng: random.Random) -> Any:
    """Plain values of which one is lost, another one, or twice there."""
    places = list(_places(tree))
    if not places:
        return extreme(rng)
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder += holder * rng.choice((1, 1000))
        case 2:
            other, place = rng.choice(places)
            holder[key] = json.loads(_dump(other[place])) if other is not holder else extreme(rng)
        case 3 if isinstance(holder, dict):
            holder[rng.choice(("", "x", "__proto__", "é" * 1000, str(key) + " "))] = holder.pop(key)
        case _:
            holder[key] = extreme(rng)
    return tree


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def _dump(tree: Any) -> str:
    try:
        return json.dumps(tree)
    except (ValueError, RecursionError):
        return "null"


def to_text(tree: Any, rng: random.Random) -> str:
    """A tree as JSON; now and then a key stands there twice, or lists lie in lists without an end."""
    text = _dump(tree)
    if rng.random() < 0.1:
        at = text.find('": ', rng.randrange(len(text)))
        if at >= 0:
            return (
                text[: at + 3] + rng.choice(("[" * DEEP, '{"a":' * DEEP, "1e999999", "-", "9" * 9000)) + text[at + 3 :]
            )
        first = text.find(",")
        return "{" + text[1:first] + "," + text[1:] if text[:1] == "{" and first > 0 else text
    return text


@dataclass
class Piece:
    """A tensor of a safetensors file."""

    dtype: str
    shape: list[int]
    data: bytes


Pieces = dict[str, Piece]


def take_apart(data: bytes) -> tuple[dict[str, str], Pieces]:
    """Metadata and tensors of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata, body = header.pop("__metadata__", {}), data[8 + length :]
    pieces = {n: Piece(one["dtype"], one["shape"], body[slice(*one["data_offsets"])]) for n, one in header.items()}
    return metadata, pieces


def put_together(
    metadata: dict[str, str], pieces: Pieces, change: Callable[[dict], dict] = lambda header: header
) -> bytes:
    """A safetensors file; change: of its header, which may then lie."""
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name, piece in pieces.items():
        header[name] = {"dtype": piece.dtype, "shape": piece.shape, "data_offsets": [at, at := at + len(piece.data)]}
    text = _dump(change(header)).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(piece.data for piece in pieces.values())


def damage_tensors(data: bytes, rng: random.Random, pictures: tuple[str, ...] = ()) -> bytes:
    """A safetensors file with other bytes, header, metadata, shapes, kinds or values; pictures: tensors of files."""
    metadata, pieces = take_apart(data)
    name = rng.choice(list(pieces))
    piece, kind = pieces[name], rng.randrange(12)
    match kind:
        case 0:
            return damage_bytes(data, rng)
        case 1:
            return struct.pack("<Q", rng.choice((0, 1, 2**40, 2**63, len(data), 100_000_001))) + data[8:]
        case 2:
            return put_together(metadata, pieces, lambda header: damage_tree(header, rng))
        case 3 | 4 | 5:
            key = rng.choice(list(metadata))
            metadata[key] = _damage_value(metadata[key], rng)
        case 6:
            del pieces[name]
        case 7:
            pieces[name + rng.choice(("x", "", ".0"))] = pieces.pop(name)
        case 8:
            _reshape(piece, rng)
        case 9:
            other = pieces[rng.choice(list(pieces))]
            pieces[name] = Piece(other.dtype, list(other.shape), other.data)
        case 10 if pictures:
            chosen = pieces[rng.choice([one for one in pictures if one in pieces])]
            chosen.data = damage_picture(chosen.data, rng)
            chosen.shape = [len(chosen.data)]
        case _:
            _overwrite(piece, rng)
    return put_together(metadata, pieces)


def _damage_value(text: str, rng: random.Random) -> str:
    """Metadata: mostly JSON in a text."""
    try:
        tree = json.loads(text)
    except ValueError:
        tree = None
    if isinstance(tree, dict):
        return to_text(damage_tree(tree, rng), rng)
    return rng.choice(("", "nan", "inf", "-1", "0", "1e-9", "1e9", "9" * 6000, "x" * 100_000, text + "0", "avatar/1"))


def _reshape(piece: Piece, rng: random.Random) -> None:
    width = WIDTHS[piece.dtype]
    count = len(piece.data) // width
    match rng.randrange(5):
        case 0:
            piece.shape = [count]
        case 1:
            piece.shape, piece.data = rng.choice(([0], [0, 2**40], [2**40, 0, 3], [0] * 9)), b""
        case 2:
            piece.shape = piece.shape[::-1]
        case 3:
            kept = rng.randrange(count + 1)
            piece.shape, piece.data = [kept], piece.data[: kept * width]
        case 4:
            alike = [name for name, size in WIDTHS.items() if len(piece.data) % size == 0]
            piece.dtype = rng.choice(alike)
            piece.shape = [len(piece.data) // WIDTHS[piece.dtype]]


def _overwrite(piece: Piece, rng: random.Random) -> None:
    """Other values at some places, or at all."""
    if piece.dtype not in ARRAYS or not piece.data:
        return
    values = np.frombuffer(piece.data, ARRAYS[piece.dtype]).copy()
    value = rng.choice(FLOATS) if piece.dtype[0] == "F" else rng.choice((0, 1, 100, 127, -1, -128))
    some = slice(None) if rng.random() < 0.3 else [rng.randrange(len(values)) for _ in range(rng.choice((1, 9)))]
    with np.errstate(all="ignore"):
        values[some] = np.array([value]).astype(values.dtype)
    piece.data = values.tobytes()


def damage_picture(data: bytes, rng: random.Random) -> bytes:
    """A JPEG or PNG with other bytes, or that says it has more or fewer pixels; or another format."""
    sides = [rng.choice((0, 1, 17, 4096, 20_000, 65_500)) for _ in range(2)]
    match rng.randrange(4):
        case 0 if data[:4] == b"\x89PNG":
            size = b"IHDR" + struct.pack(">II", *sides) + data[24:29]
            return data[:12] + size + struct.pack(">I", zlib.crc32(size)) + data[33:]
        case 0 | 1 if (at := max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))) >= 0:
            return data[: at + 5] + struct.pack(">HH", *sides) + data[at + 9 :]
        case 2:
            return (
                rng.choice((b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", b"GIF89a", b"BM", b"II*\0")) + data
            )
    return damage_bytes(data, rng)


def damage_text(text: str, rng: random.Random) -> bytes:
    """YAML or JSON lines with other bytes, tokens, lines."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            return damage_bytes(text.encode(), rng)
        case 1:
            del lines[at]
        case 2:
            lines[at:at] = [lines[rng.randrange(len(lines))]] * rng.choice((1, 3, 2000))
        case 3:
            key, colon, _ = lines[at].partition(":")
            lines[at] = key + colon + " " + _token(rng)
        case 4:
            lines[at] = " " * rng.randrange(9) + lines[at].strip() + rng.choice(("", ":", " #", " &a *a", " |"))
        case 5:
            lines += [
                f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(rng.choice((3, 12)))
            ]
        case 6:
            lines[at] += rng.choice(
                ("[" * 5000, "{" * 5000, "- " * 5000, "\0", "\ufeff", "'", '"', "!!python/name:os.system")
            )
    return "\n".join(lines).encode("utf-8", "replace")


WORDS = (
    *(".nan", ".inf", "-.inf", "1e400", "0x7fffffffffffffff", "!!binary abcd", "2001-01-01", "~", "yes", "'{x}'", "|"),
    *(
        "{a: 1}",
        "[1, 2]",
        "{0: 1, 0.5: .nan}",
        "**/*",
        "http://127.0.0.1/x",
        "take:",
        "take:/etc",
        ">",
        "*x",
        "{[1]: 2}",
    ),
    *("/dev/zero", "/proc/self/mem", "{id}", "'{n}'", "{0: 0, 1e9: 3}"),
)


def _token(rng: random.Random) -> str:
    value = rng.choice((rng.choice(WORDS), rng.choice(WORDS), extreme(rng)))
    try:
        return str(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits; lists in lists
        return "9" * 6000 if isinstance(value, int) else "[" * 3000
