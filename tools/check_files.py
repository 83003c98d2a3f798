"""House rules that any file can break: size, line ends, machine paths, half-finished marks, forbidden calls.

python tools/check_files.py [FILE ...]      all tracked and new files when none is named
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_BYTES = 500_000
WEIGHTS_LIMIT_BYTES = 8_000_000
BUNDLES = {"exts/lyra.worldgen/lyra/worldgen/web/site/app.js": 4_000_000}
"""Built files that are part of the package, so that nobody needs what built them, and their limits [bytes]."""
MADE = {"build", "worlds", "sites"}
"""Folders at the root whose files nobody wrote."""
TEXT_SUFFIXES = {
    ".py", ".toml", ".md", ".sh", ".yaml", ".yml", ".json", ".html", ".css", ".mjs", ".cfg", ".txt", ".jsonl", "",
}  # fmt: skip
PATTERNS = {
    "a path of somebody's machine": re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt)/\w"),
    "a merge mark": re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE),
    "an unfinished mark": re.compile(r"#\s*(?:TODO|FIXME|XXX|HACK)\b"),
    "a breakpoint": re.compile(r"^\s*(?:breakpoint\(\)|import i?pdb)", re.MULTILINE),
}
PYTHON_PATTERNS = {
    "an assert without a message (and for a caller's array raise InputError)": re.compile(
        r"^\s*assert [^\n]*\.shape\b(?![^\n]*, f?\")[^\n]*$", re.MULTILINE
    ),
    "logging configured by a library": re.compile(r"\blogging\.basicConfig\("),
    "a global random generator": re.compile(r"\bnp\.random\.(?:seed|rand|randn|randint|shuffle|choice)\("),
    "a switch of torch's global state": re.compile(r"\btorch\.(?:set_grad_enabled|manual_seed)\("),
}
"""Only for the product's own Python, not for tools and tests."""


def repository_files() -> list[Path]:
    """Tracked files and new ones that git does not ignore, sorted."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive without git
        found = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
        return sorted(p for p in found if p.parts[0] not in MADE and not any(map(_made_anywhere, p.parts)))
    return sorted({Path(name) for name in output.decode().split("\0") if name and (ROOT / name).is_file()})


def _made_anywhere(folder: str) -> bool:
    return folder in {"__pycache__", "node_modules"} or folder.startswith(".venv")


def problems(path: Path, data: bytes) -> list[str]:
    """What is wrong with one file, one line each.

    Args:
        path: relative to the repository.
        data: the file's bytes.
    """
    limit = WEIGHTS_LIMIT_BYTES if path.suffix == ".safetensors" else BUNDLES.get(path.as_posix(), LIMIT_BYTES)
    found = [f"{path}: {len(data)} bytes; the limit is {limit}"] if len(data) > limit else []
    if path.suffix not in TEXT_SUFFIXES or b"\0" in data:
        return found
    text = data.decode("utf-8", errors="replace")
    if "\ufffd" in text:
        found.append(f"{path}: is not UTF-8")
    if "\r" in text:
        found.append(f"{path}: has carriage returns; use plain newlines")
    if text and not text.endswith("\n"):
        found.append(f"{path}: does not end with a newline")
    patterns = dict(PATTERNS)
    if path.suffix == ".py" and path.parts[0] in {"exts", "robot_tasks"}:
        patterns |= PYTHON_PATTERNS
    if path == Path(__file__).resolve().relative_to(ROOT):
        patterns = {}  # this file names what it forbids
    for what, pattern in patterns.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: {what}: {match[0].strip()[:80]}")
    return found


def main() -> int:
    named = [Path(name).resolve().relative_to(ROOT) for name in sys.argv[1:]]
    found = [line for path in named or repository_files() for line in problems(path, (ROOT / path).read_bytes())]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
