"""Pages of the site that stand outside docs/: the README as its first page, recipes, changelog, cards of the weights.

In the repository links are relative to the file that has them, so that they work there, too. Here each is rewritten to
where its page is on the site; what has no page (a folder, a file of code) becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]*)((?:#[^)\s]*)?)\)")
NAMED = {"README.md": "index.md", "LICENSE": "license.md"}
UPPER = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def place_on_site(path: str) -> str | None:
    """Where a file of the repository, by its path from the root, is on the site."""
    if path in NAMED:
        return NAMED[path]
    if path in UPPER:
        return path.lower()
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if re.fullmatch(r"recipes/[\w.]+|avatar/assets/\w+\.md", path) and (ROOT / path).is_file():
        return path
    return None


def sources() -> dict[str, str]:
    """Files outside docs/ that have a place on the site: place -> path from the root."""
    folders = [*(ROOT / "recipes").iterdir(), *(ROOT / "avatar" / "assets").glob("*.md")]
    paths = [path.relative_to(ROOT).as_posix() for path in folders if path.suffix in (".md", ".yaml", ".py")]
    return {place: path for path in (*NAMED, *UPPER, *paths) if (place := place_on_site(path))}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what stands outside docs/."""
    for place, path in sources().items():
        text = (ROOT / path).read_text()
        files.append(File.generated(config, place, content=f"```\n{text}```\n" if path == "LICENSE" else text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links to where their pages are on the site."""
    here = page.file.src_uri
    origin = sources().get(here, f"docs/{here}")

    def rewrite(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups()
        if not target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        place = place_on_site(path)
        if place is None:
            return text
        return f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(rewrite, markdown)
