"""The documentation runs: every Python example, in a folder as its page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from avatar.core.media import write_wav
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
    (tmp_path / "me.take").symlink_to(actor.take.root)
    (tmp_path / "me.mp4").symlink_to(actor.video)
    noise = 0.1 * torch.randn(24000, generator=torch.Generator().manual_seed(0))
    write_wav(tmp_path / "hello.wav", noise)
    found = blocks(page)
    assert found
    names: dict[str, object] = {}
    for number, block in enumerate(found):
        exec(compile(block, f"{page}, block {number}", "exec"), names)  # as a reader would, one after the other


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "recipes").glob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


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
