"""The documentation runs: Python examples in a folder as their page says, commands as far as their arguments."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.exceptions import TyperException
from typer.main import get_command

import avatar
from avatar.cli import app
from avatar.cli.options import read_options
from avatar.core.files import UserError
from avatar.core.media import write_wav
from avatar.core.recipe import Settings
from avatar.pipelines.verbs import VERBS
from tests.conftest import Filmed

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_examples_run(
    page: str, avatar_file: Path, actor: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.avatar").symlink_to(avatar_file)
    shutil.copytree(actor.take.root, tmp_path / "me.take", copy_function=os.link)  # an example states a consent in it
    (tmp_path / "me.mp4").symlink_to(actor.video)
    noise = 0.1 * torch.randn(24000, generator=torch.Generator().manual_seed(0))
    write_wav(tmp_path / "hello.wav", noise)
    found = blocks(page)
    assert found
    names: dict[str, object] = {}
    for number, block in enumerate(found):
        exec(compile(block, f"{page}, block {number}", "exec"), names)  # as a reader would, one after the other


def pages() -> list[Path]:
    found = [path for folder in (".", "docs", "docs/lab", "recipes") for path in (ROOT / folder).glob("*.md")]
    assert len(found) > 20
    return sorted(found)


def test_links_lead_somewhere() -> None:
    for page in pages():
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def commands(page: Path) -> list[str]:
    """Command lines of a page: those in blocks without a language, and those in backticks."""
    text = page.read_text()
    lines = [line for block in re.findall(r"^```\n(.*?)^```", text, re.S | re.M) for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    starts = r"(\.venv/bin/)?(avatar(?= -| \w)|make(?= \w)|(python|torchrun\b.*) -m |pip install )"
    return [line.removeprefix(".venv/bin/") for line in lines if re.match(starts, line)]


def verbs(command: Any, names: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The commands that do something, by the words that call them."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return {names: command}
    return {path: verb for name, one in inner.items() for path, verb in verbs(one, (*names, name)).items()}


def parse(words: list[str]) -> None:
    """Let the command line check its arguments without doing anything. Raises: an error of typer's, UserError."""
    command = get_command(app)
    known = verbs(command)
    if tuple(words) in known:  # a verb that is only named
        return
    for names, verb in known.items():
        options = VERBS.get(names[0]) if len(names) == 1 else None
        verb.callback = partial(check_options, options) if options else lambda **_: None
    command.main(words, standalone_mode=False)


def check_options(options: type[Settings], **values: object) -> None:
    read_options(options, values)


def check_command(line: str) -> None:
    """Raises AssertionError, UserError or an error of typer's for a command that would not run as it stands."""
    words = [word for word in shlex.split(line, comments=True) if not word.startswith("...")]
    words = words[: words.index(">")] if ">" in words else words
    if "avatar.cli" in words:
        words = ["avatar", *words[words.index("avatar.cli") + 1 :]]
    if words[0] == "avatar":
        parse(words[1:])
    elif words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
        assert {word for word in words[1:] if "=" not in word} <= targets, line
    elif "-m" in words:
        assert importlib.util.find_spec(words[words.index("-m") + 1]) is not None, line
    else:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for extra in re.findall(r"avatar-builder\[(.*?)\]", line):
            assert extra in extras, line


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_those_of_the_program(page: Path) -> None:
    for line in commands(page):
        try:
            check_command(line)
        except Exception as error:
            raise AssertionError(f"{page.name}: {line}") from error


@pytest.mark.parametrize(
    "wrong",
    [
        "avatar speak a.avatar b.wav -o c.mp4 --loud",
        "avatar shout a.wav",
        "make coffee",
        "avatar build a.mp4 -o a.avatar --budget soon",
    ],
)
def test_a_command_that_is_none_is_found(wrong: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Try this:\n```\n{wrong}   # now\n```\n")
    assert len(commands(page)) == 1
    with pytest.raises((AssertionError, UserError, TyperException)):
        check_command(commands(page)[0])


def test_workflows_make_what_there_is() -> None:
    runs = [
        line for path in sorted((ROOT / ".github/workflows").glob("*.yml")) for line in path.read_text().splitlines()
    ]
    made = [line.split("run:")[1].strip() for line in runs if "run: make " in line]
    assert len(made) >= 3
    for line in made:
        check_command(line)


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.findall(r"^## (\d\S+?),", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == project
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == project


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Pages, links, anchors and the reference from docstrings, as strictly as `make docs`."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site" / "api.html").read_text()
    for name in avatar.__all__:
        assert re.search(rf'id="[\w.]*\.{name}"', reference), name


def test_the_glossary_knows_the_names_of_the_code() -> None:
    """Each name in backticks in the glossary's third column stands in the code."""
    code = "\n".join(path.read_text() for path in (ROOT / "avatar").rglob("*.py"))
    code += "\n".join(path.read_text() for path in (ROOT / "preprocess").rglob("*.py"))
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("|")]
    assert len(rows) > 30
    for row in rows[2:]:
        for name in re.findall(r"`([\w.]+)`", row[3]):
            assert name.rpartition(".")[2] in code, name
