"""The page about the architecture tells of what is there: its modules exist, and no folder is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "exts" / "lyra.worldgen" / "lyra" / "worldgen"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
FOLDERS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())
MADE = {"memory/"}
"""Folders of a world."""


def test_what_the_page_names_exists():
    """Every path in prose and table is a module, a folder or a file of the project."""
    paths = [name for name in re.findall(r"`([a-z0-9_.]+/[a-z0-9_/.]*)`", PROSE) if name not in MADE]
    assert len(paths) > 40
    missing = [
        p for p in paths if not any((at / f"{p}{end}").exists() for at in (PACKAGE, ROOT) for end in ("", ".py"))
    ]
    assert missing == []


def test_the_page_leaves_no_folder_out():
    """Each folder of the package has a row in the table, and a place in the picture of layers."""
    rows = re.findall(r"^\| (.+?) \|", PAGE.partition("| folder | subject |")[2], re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([a-z_]+)/`", row)}
    assert [name for name in FOLDERS if name not in told] == []
    layers = PAGE.partition("   core  ◄─")[2].partition("```")[0]
    assert [name for name in FOLDERS if not re.search(rf"\b{name}\b", f"core {layers}")] == []


def test_robot_tasks_read_what_the_page_says():
    """The task package stands on the records, the sensors and few parts of the stages, all named on the page."""
    (row,) = re.findall(r"^\| `robot_tasks/` \| (.+) \|", PAGE, re.MULTILINE)
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)?)/?`", row)
    imported = set()
    for path in (ROOT / "robot_tasks").rglob("*.py"):
        imported |= set(re.findall(r"from lyra\.worldgen\.([a-z_.]+) import", path.read_text(encoding="utf-8")))
    assert imported
    assert [m for m in sorted(imported) if not any(f"{m.replace('.', '/')}/".startswith(f"{n}/") for n in named)] == []
