"""Files of keys and values: what has no value, what multiplies, what is no text, each in one line with its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from avatar.batch.plan import make_plan
from avatar.core.controls import resolve_controls
from avatar.core.files import UserError
from avatar.core.lines import parse_mapping, read_entries, read_mapping
from avatar.core.recipe import load_recipe, yaml_values
from tests.test_core import make_avatar

JOB = "jobs:\n- kind: speak\n  avatar: a.avatar\n  speech: s.wav\n  output: o.mp4\n"


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (JOB + "  background: #20a040\n", 6, "background"),
        (JOB + "  background:\n", 6, "background"),
        (JOB + "  matrix:\n    background:\n    - white\n    - #000\n", 9, "background"),
        (JOB + "  controls: {pose: }\n", 6, "pose"),
        (JOB + "- {kind: build, source: c.mp4, output: c.avatar, recipe: {speech: , name: x}}\n", 6, "speech"),
        ("defaults:\n  speak:\n    background: #fff\n" + JOB, 3, "background"),
        ("defaults:\n" + JOB, 1, "defaults"),
        ("jobs:\n", 1, "jobs"),
    ],
)
def test_a_key_without_value_in_a_job_file(text: str, line: int, key: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"jobs\.yaml:{line}: '{key}' has no value; .*quotes, as in '#20a040'"):
        make_plan(tmp_path / "jobs.yaml")


def test_recipes_and_controls_too(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nspeech: s.wav\nbackground: #20a040\nencoder:\n")
    with pytest.raises(UserError, match=r"r\.yaml:3: 'background' has no value.*; so have lines 4$"):
        load_recipe(tmp_path / "r.yaml")
    (tmp_path / "c.yaml").write_text("head: 1\nstyle: # mine.mp4\n")
    with pytest.raises(UserError, match=r"c\.yaml:2: 'style' has no value"):
        resolve_controls(make_avatar(), tmp_path / "c.yaml")


def test_null_is_a_value_and_quotes_keep_a_colour(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("steps: null\ntrain_size: ~\nbackground: '#20a040'\nencoder: ''\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert (recipe.steps, recipe.background, recipe.encoder) == (None, "#20a040", "")


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.yaml"])
def test_a_byte_order_mark_is_no_text(name: str, tmp_path: Path) -> None:
    line = '{"kind": "speak", "avatar": "a.avatar", "speech": "s.wav", "output": "o.mp4"}'
    text = line if name == "jobs.jsonl" else f'{{"jobs": [{line}]}}'
    (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
    _, entries = read_entries(tmp_path / name, "jobs")
    assert entries[0].values["kind"] == "speak"


def laughs(levels: int, width: int) -> str:
    lines = [f"a0: &a0 [{', '.join(['lol'] * width)}]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


MERGED = "\n".join(
    ["a0: &a0 {k0: 1, k1: 2}"]
    + [f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 12)]
)


@pytest.mark.parametrize("text", [laughs(9, 10), laughs(30, 2), laughs(4, 100), MERGED], ids=["9", "30", "4", "merged"])
def test_aliases_that_multiply_are_refused_at_once(text: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"aliases .* multiply out"):
        parse_mapping(text, "r.yaml", "recipe")
    inside = "\n".join("    " + line for line in text.splitlines())
    (tmp_path / "jobs.yaml").write_text(f"{JOB}  controls:\n{inside}\n")
    with pytest.raises(UserError, match=r"jobs\.yaml: its aliases"):
        make_plan(tmp_path / "jobs.yaml")
    assert yaml_values(text) == {}, "of a recipe inside an avatar"
    assert time.monotonic() - start < 5


def test_aliases_of_plain_defaults_are_fine(tmp_path: Path) -> None:
    jobs = "\n".join(f"- {{<<: *usual, speech: {index}.wav, output: {index}.mp4}}" for index in range(200))
    keys = "kind: speak, avatar: a.avatar, size: 256, fps: 25, quality: good, codec: h264, head: 1, gaze: 1, blink: 1"
    (tmp_path / "jobs.yaml").write_text(f"usual: &usual {{{keys}}}\njobs:\n{jobs}\n")
    _, entries = read_entries(tmp_path / "jobs.yaml", "jobs")
    assert [entry.values["size"] for entry in entries] == [256] * 200


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]", "a: &a {b: *a}", "a: " + "[" * 5000, "a: " + "{b: " * 5000, "a: " + "9" * 5000, "a: 2020-13-45",
        "a: !!timestamp x", "a: !!int x", "a: !!python/object/apply:os.system [id]", "{[]: 1}", "a: \x01", "- a", "3",
        "a: 1\na: 2\n  b", "a: !!float 1e", "? a", "a: 0x", "a: 1:2:3:" + "9" * 400, "",
    ],
    ids=lambda text: text[:16].strip() or "nothing",
)  # fmt: skip
def test_odd_text_is_one_line_or_values(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    read, line = None, ""
    try:
        read = read_mapping(tmp_path / "r.yaml", "recipe")
    except UserError as error:
        line = str(error)
    assert isinstance(read, dict) or ("r.yaml" in line and len(line) < 400)
