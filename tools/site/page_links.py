"""Links between pages, turned from where the pages stand in the repository to where they stand in the site."""

from __future__ import annotations

import os
import re
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"(^```.*?^```\s*$)", re.MULTILINE | re.DOTALL)


def site_text(text: str, file: Path, places: dict[str, str]) -> str:
    """A page with its links turned.

    Args:
        text: of the page, in Markdown.
        file: where it stands, relative to the repository.
        places: file relative to the repository, name in the site; everything else that is linked to is named and not
            linked, as the site has pages only. Pictures come from `docs/images`.
    """
    parts = CODE_BLOCK.split(text)
    parts[::2] = [LINK.sub(lambda match: _turned(match, file, places), part) for part in parts[::2]]
    return "".join(parts)


def _turned(match: re.Match[str], file: Path, places: dict[str, str]) -> str:
    picture, label, target = match.groups()
    if re.match(r"[a-z]+:", target) or target.startswith("#"):
        return match.group()
    name, hash_, anchor = target.partition("#")
    goal = Path(os.path.normpath(file.parent / name)).as_posix()
    if picture:
        return f"![{label}]({goal.removeprefix('docs/')})"
    if goal in places:
        return f"[{label}]({places[goal]}.md{hash_}{anchor})"
    return label if goal in label else f"{label} (`{goal}`)"
