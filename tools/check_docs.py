"""Links and pictures in the project's pages lead to files that exist; headings they point at exist too.

python tools/check_docs.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from check_files import ROOT, repository_files

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE_BLOCK = re.compile(r"^```.*?^```\s*$", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that headings of a page get."""
    titles = re.findall(r"^#+\s+(.+?)\s*$", CODE_BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path: Path) -> list[str]:
    """Links of one page, relative to the repository, that lead nowhere."""
    found = []
    for target in LINK.findall(CODE_BLOCK.sub("", (ROOT / path).read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        goal = (ROOT / path.parent / name).resolve() if name else ROOT / path
        if not goal.exists():
            found.append(f"{path}: {target} leads nowhere")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            found.append(f"{path}: {target}: the page has no such heading")
    return found


def main() -> int:
    found = [line for path in repository_files() if path.suffix == ".md" for line in broken_links(path)]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
