"""YAML and JSON lines with the line of every key, so that an error can say where."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from avatar.core.files import UserError, check_readable

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of libyaml, ten times as fast, where PyYAML has it
NULL = "tag:yaml.org,2002:null"
MOST_COPIES = 20  # times a document's own nodes, that aliases may make of it: a dozen defaults in each job's few keys
FEW_NODES = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """The keys and values of one mapping in a file, and where they stand; lines begin at 1."""

    values: dict[str, Any]
    line: int
    lines: dict[str, int]

    def line_of(self, key: str) -> int:
        """The line of a key, or where the mapping begins."""
        return self.lines.get(key, self.line)


def read_entries(path: Path, name: str) -> tuple[Entry, list[Entry]]:
    """The head of a file, and the mappings in its list `name`.

    A `.jsonl` file has one mapping a line; its first line may be a head, which is told by having no `kind`.
    Raises: UserError with the line of what cannot be read.
    """
    text = _read_text(path, "job file")
    return _read_json_lines(path, text) if path.suffix == ".jsonl" else _read_yaml(path, text, name)


def _read_json_lines(path: Path, text: str) -> tuple[Entry, list[Entry]]:
    entries = []
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        try:
            values = json.loads(row, object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{line}: is not JSON ({getattr(error, 'msg', error)})") from error
        if not isinstance(values, dict):
            raise UserError(f'{path}:{line}: must be an object such as {{"kind": "speak"}}')
        entries.append(Entry(values, line, {}))
    if entries and "kind" not in entries[0].values:
        return entries[0], entries[1:]
    return Entry({}, 1, {}), entries


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"'{next(key for key in keys if keys.count(key) > 1)}' stands there twice")
    return values


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML (or JSON) file. Raises: UserError as `read_entries`."""
    return parse_mapping(_read_text(path, what), str(path), what)


def parse_mapping(text: str, where: str, what: str) -> dict[str, Any]:
    """The keys and values of YAML text; where: it stands. Raises: UserError as `read_entries`."""
    return _load(where, text, what)[1]


def _read_text(path: Path, what: str) -> str:
    check_readable(path, what)
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _load(path: Path | str, text: str, what: str) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """The root of YAML text, which is a mapping, and its values."""
    loader = Loader(text)
    collecting = gc.isenabled()
    gc.disable()  # it would look through the growing tree again and again: half the time of a large file
    try:
        root = loader.get_single_node()
        if root is None:
            raise UserError(f"{path}: is empty; a {what} has `key: value` lines")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{root.start_mark.line + 1}: must be `key: value` lines, as a {what} is")
        _Nodes(path).check(root)
        return root, loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: is not YAML ({getattr(error, 'problem', None) or error})") from error
    finally:
        loader.dispose()
        if collecting:
            gc.enable()


class _Nodes:
    """What is looked at in the nodes of a document before anything is made of them."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._sizes: dict[int, int] = {}  # of the nodes seen, with all that is below; 0: not all of it is seen
        self._empty: list[tuple[int, str]] = []  # line and key

    def check(self, root: yaml.MappingNode) -> None:
        """Raise UserError for keys without a value, and for aliases that make much of little."""
        if self._size(root, "") > MOST_COPIES * (len(self._sizes) + FEW_NODES):
            raise UserError(f"{self._path}: its aliases (`*name`) multiply out to too much; write less with them")
        if self._empty:
            (line, key), *others = sorted(self._empty)
            also = f"; so have lines {', '.join(str(other) for other, _ in others[:20])}" if others else ""
            advice = "give one or leave the key out; a colour needs quotes, as in '#20a040', since # begins a comment"
            raise UserError(f"{self._path}:{line}: '{key}' has no value; {advice}{also}")

    def _size(self, node: yaml.Node, key: str) -> int:
        """How many nodes there are when each alias is what it stands for; key: that the node is the value of."""
        known = self._sizes.get(id(node))
        if known == 0:
            raise UserError(f"{self._path}:{node.start_mark.line + 1}: '{key}' contains itself; leave the alias out")
        if known is None:
            self._sizes[id(node)] = 0
            if isinstance(node, yaml.MappingNode):
                below = sum(1 + self._size(value, str(name.value)) for name, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                below = sum(self._size(value, key) for value in node.value)
            else:
                below = 0
                if node.tag == NULL and not node.value:
                    self._empty.append((node.start_mark.line + 1, key))
            known = self._sizes[id(node)] = 1 + below
        return known


def _read_yaml(path: Path, text: str, name: str) -> tuple[Entry, list[Entry]]:
    root, values = _load(path, text, "job file; see `avatar batch schema`")
    head, listed = _place(path, root, values), next((v for k, v in root.value if k.value == name), None)
    if not isinstance(listed, yaml.SequenceNode):
        raise UserError(f"{path}:{head.line_of(name)}: has no list `{name}`")
    entries = []
    for node, value in zip(listed.value, values[name], strict=True):
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{path}:{node.start_mark.line + 1}: must be `key: value` lines")
        entries.append(_place(path, node, value))
    return Entry({key: value for key, value in values.items() if key != name}, head.line, head.lines), entries


def _place(path: Path, node: yaml.MappingNode, values: dict[str, Any]) -> Entry:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if str(key.value) in lines:
            raise UserError(f"{path}:{line}: '{key.value}' stands there twice; keep one")
        lines[str(key.value)] = line
    return Entry({str(key): value for key, value in values.items()}, node.start_mark.line + 1, lines)
