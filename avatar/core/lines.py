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
    check_readable(path, "job file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
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


def _read_yaml(path: Path, text: str, name: str) -> tuple[Entry, list[Entry]]:
    loader = Loader(text)
    collecting = gc.isenabled()
    gc.disable()  # it would look through the growing tree again and again: half the time of a large file
    try:
        root = loader.get_single_node()
        if root is None:
            raise UserError(f"{path}: is empty; see `avatar batch schema`")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:{root.start_mark.line + 1}: must be `key: value` lines with a list `{name}`")
        values = loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: is not YAML ({getattr(error, 'problem', None) or error})") from error
    finally:
        loader.dispose()
        if collecting:
            gc.enable()
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
