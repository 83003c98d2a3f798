"""Builds CHANGELOG.md from the fragments in docs/changelog.d and keeps Kit's copy equal.

python tools/changelog.py             check names, and that Kit's copy of the page is equal
python tools/changelog.py --release   move all fragments into the section of the current version
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("added", "changed", "fixed", "removed")
HEADER = "# Changelog\n\nWhat users notice, newest first. Versions follow semantic versioning.\n"


def fragments(folder: Path) -> dict[str, list[Path]]:
    """Fragment files by kind, sorted; raises SystemExit that names a file whose name says no kind."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*.md")):
        if path.name == "README.md":
            continue
        match = re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(KINDS)})\.md", path.name)
        if not match:
            raise SystemExit(f"{path}: expected <topic>.<kind>.md with a kind of {', '.join(KINDS)}")
        if not path.read_text(encoding="utf-8").strip():
            raise SystemExit(f"{path}: the fragment is empty")
        found[match[1]].append(path)
    return found


def entries(text: str) -> list[str]:
    """List items of one fragment; text without a leading dash is one item."""
    text = text.strip()
    return [text] if text.startswith("- ") else ["- " + " ".join(text.split())]


def release(page: str, version: str, by_kind: dict[str, list[str]]) -> str:
    """The page with the new entries in the section of `version`, which is made if it does not exist."""
    body = page.removeprefix(HEADER)
    title = f"## [{version}]"
    before, found, after = body.partition(title)
    section, _, older = after.partition("\n## [") if found else ("", "", "")
    for kind, items in by_kind.items():
        if not items:
            continue
        heading = f"\n### {kind.capitalize()}\n"
        if heading in section:
            section = section.replace(heading, heading + "\n".join(items) + "\n")
        else:
            section = section.rstrip("\n") + "\n" + heading + "\n".join(items) + "\n"
    rest = ("\n## [" + older if older else "") if found else "\n" + body.lstrip("\n") if body.strip() else ""
    head = before if found else "\n"
    return (HEADER + head + title + section.rstrip("\n") + "\n" + rest).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", action="store_true", help="move the fragments into CHANGELOG.md")
    args = parser.parse_args()
    found = fragments(ROOT / "docs" / "changelog.d")
    page, copy = ROOT / "CHANGELOG.md", ROOT / "exts" / "lyra.worldgen" / "docs" / "CHANGELOG.md"
    if not args.release:
        if page.read_bytes() != copy.read_bytes():
            print(f"{copy} differs from {page}; run: python tools/changelog.py --release", file=sys.stderr)
            return 1
        return 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    by_kind = {k: [e for p in paths for e in entries(p.read_text(encoding="utf-8"))] for k, paths in found.items()}
    text = release(page.read_text(encoding="utf-8") if page.exists() else HEADER, version, by_kind)
    for target in (page, copy):
        target.write_text(text, encoding="utf-8")
    for path in (p for paths in found.values() for p in paths):
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
