"""The documentation site: every page once, links that lead somewhere, a reference, nothing from the network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tool(repository):
    """The scripts of tools/site."""
    sys.path.insert(0, str(repository / "tools" / "site"))
    try:
        import build_site
        import page_links

        yield build_site, page_links
    finally:
        sys.path.remove(str(repository / "tools" / "site"))


@pytest.mark.parametrize(
    ("link", "turned"),
    [
        ("[Import](docs/import.md#limits)", "[Import](import.md#limits)"),
        ("![A lobby](docs/images/lobby.jpg)", "![A lobby](images/lobby.jpg)"),
        ("[tasks](robot_tasks/README.md)", "[tasks](robot-tasks.md)"),
        ("[fast](config/generation/fast.yaml)", "fast (`config/generation/fast.yaml`)"),
        ("[fsspec](https://filesystem-spec.readthedocs.io)", "[fsspec](https://filesystem-spec.readthedocs.io)"),
        ("[below](#more)", "[below](#more)"),
        ("```\n[not](a-link.md)\n```\n", "```\n[not](a-link.md)\n```\n"),
    ],
)
def test_links_are_turned(tool, link, turned):
    """From the README's place to the start page's; code stays as it is."""
    places = {"README.md": "index", "docs/import.md": "import", "robot_tasks/README.md": "robot-tasks"}
    assert tool[1].site_text(link, Path("README.md"), places) == turned


def test_links_of_chapters_are_turned(tool):
    """Relative to docs/ there, relative to the site's root here."""
    places = {"README.md": "index", "docs/import.md": "import"}
    assert tool[1].site_text("[a](import.md) [b](../README.md)", Path("docs/mesh.md"), places) == (
        "[a](import.md) [b](index.md)"
    )


def test_every_chapter_is_named_once(tool):
    """A page that moved or went away must not stay in the navigation."""
    named = [name for names in tool[0].CHAPTERS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) <= set(tool[0].pages().values())


@pytest.mark.slow
def test_the_site_is_built(repository, tmp_path, tool):
    """A link that leads nowhere is an error; all pages are there, and no script, font or style of another origin."""
    pytest.importorskip("mkdocs", reason="the extra `site` is not installed")
    out = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, repository / "tools" / "site" / "build_site.py", "--out", out],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {f"{name}.html" for name in tool[0].pages().values()} <= {path.name for path in out.glob("*.html")}
    start = (out / "index.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//[^\"]+\.(?:js|css|woff2?)", start)
    core = (out / "reference" / "lyra.worldgen.core.html").read_text()
    assert "parse_annotations" in core


def test_a_foreign_folder_is_not_replaced(repository, tmp_path):
    """Only an empty folder or an older site is."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        [sys.executable, repository / "tools" / "site" / "build_site.py", "--out", tmp_path],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no site" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
