#!/usr/bin/env python3
"""Builds the documentation site: all pages, and the reference from the docstrings.

    pip install -e '.[site]'
    python tools/site/build_site.py --out site

The pages are those of the repository, so nothing is written twice: README.md is the start, `docs/*.md` the chapters,
`robot_tasks/README.md` and CHANGELOG.md come along, and links between them are turned to where the pages stand in the
site. The reference is read from the docstrings; no module is imported for it.
The site needs no network: fonts and scripts lie beside the pages.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from page_links import site_text

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "exts" / "lyra.worldgen" / "lyra" / "worldgen"
TASKS = ROOT / "robot_tasks" / "lyra_tasks"
CHAPTERS = {
    "Start": [
        "tutorial",
        "gallery",
        "exploring",
        "walkthrough",
        "explorer",
        "import",
        "import-pictures",
        "vary",
        "batch",
        "evaluation",
        "web-export",
        "service",
    ],
    "Worlds": ["scale", "splats", "mesh", "colliders", "sensors"],
    "Robots": ["robot-tasks", "learning", "isaac-sim", "extension"],
    "Method": ["lyra2", "training", "benchmarks", "model-card", "data-card"],
    "Inside": ["architecture", "conventions", "session", "contributing", "changelog"],
}
"""Order of the pages; one that is not named here goes to the end of the last chapter."""
OUTSIDE = {"README.md": "index", "robot_tasks/README.md": "robot-tasks", "CHANGELOG.md": "changelog"}
"""Pages that do not stand in docs/, and their names in the site."""


def pages() -> dict[str, str]:
    """File, relative to the repository, to its name in the site without suffix."""
    return OUTSIDE | {f"docs/{path.name}": path.stem for path in sorted((ROOT / "docs").glob("*.md"))}


def write_pages(source: Path) -> None:
    """All pages and the pictures that they show."""
    places = pages()
    for file, name in places.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        (source / f"{name}.md").write_text(site_text(text, Path(file), places), encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", source / "images")


def public_modules() -> list[str]:
    """Dotted names of all modules that others may import: documented, and no underscore in the name."""
    found = []
    for root, top in ((PACKAGE, PACKAGE.parents[1]), (TASKS, TASKS.parent)):
        for file in sorted(root.rglob("*.py")):
            parts = file.relative_to(top).with_suffix("").parts
            if not any(part.startswith("_") for part in parts) and ast.get_docstring(ast.parse(file.read_text())):
                found.append(".".join(parts))
    return found


def write_reference(source: Path) -> list[dict[str, list[str]]]:
    """One page a package; gives the entries of the navigation."""
    folder = source / "reference"
    folder.mkdir()
    groups: dict[str, list[str]] = {}
    for module in public_modules():
        head = module.split(".")
        depth = 3 if head[0] == "lyra" else 2
        groups.setdefault(".".join(head[: min(depth, len(head) - 1)]), []).append(module)
    entries = []
    for package, modules in groups.items():
        title = package.removeprefix("lyra.worldgen.")
        text = [f"# {title}\n"] + [f"## {module}\n\n::: {module}\n" for module in modules]
        (folder / f"{package}.md").write_text("\n".join(text), encoding="utf-8")
        entries.append({title: f"reference/{package}.md"})
    return entries


def navigation(source: Path, reference: list[dict[str, list[str]]]) -> list[dict]:
    """Every page once."""
    there = {path.stem for path in source.glob("*.md")} - {"index"}
    chapters = {title: [name for name in names if name in there] for title, names in CHAPTERS.items()}
    chapters[list(chapters)[-1]] += sorted(there - {name for names in chapters.values() for name in names})
    nav: list[dict] = [{"Home": "index.md"}]
    nav += [{title: [f"{name}.md" for name in names]} for title, names in chapters.items() if names]
    return [*nav, {"Reference": reference}]


def configuration(source: Path, out: Path, nav: list[dict]) -> dict:
    """Of the site generator. Docstrings are read as text: no module is imported."""
    python: dict[str, Any] = {"paths": [str(ROOT / "exts" / "lyra.worldgen"), str(ROOT / "robot_tasks")]}
    python["options"] = {
        "show_root_heading": False,
        "show_root_toc_entry": False,
        "show_source": False,
        "heading_level": 3,
        "docstring_section_style": "list",
        "show_signature_annotations": True,
        "separate_signature": True,
        "line_length": 100,
        "filters": ["!^_"],
    }
    return {
        "site_name": "lyra.worldgen",
        "site_description": "One photo in, a sim-ready world out, a robot trained in it.",
        "docs_dir": str(source),
        "site_dir": str(out),
        "use_directory_urls": False,
        "theme": {
            "name": "material",
            "font": False,
            "features": ["navigation.sections", "navigation.top", "toc.follow", "content.code.copy"],
            "palette": [
                {"media": "(prefers-color-scheme: light)", "scheme": "default", "primary": "black"},
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate", "primary": "black"},
            ],
        },
        "plugins": ["search", {"mkdocstrings": {"handlers": {"python": python}}}],
        "markdown_extensions": ["tables", "admonition", "attr_list", "md_in_html", "pymdownx.superfences"],
        "nav": nav,
        "validation": {"links": {"not_found": "warn", "anchors": "warn", "absolute_links": "warn"}},
        "strict": True,
    }


def build(out: Path) -> None:
    """Write the site into `out`, which is replaced. Raises CalledProcessError where the generator warns."""
    with tempfile.TemporaryDirectory(prefix="lyra-site-") as scratch:
        source = Path(scratch) / "pages"
        source.mkdir()
        write_pages(source)
        nav = navigation(source, write_reference(source))
        config = Path(scratch) / "mkdocs.yml"
        made = Path(scratch) / "site"
        config.write_text(yaml.safe_dump(configuration(source, made, nav), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--quiet", "--strict", "-f", str(config)]
        subprocess.run(command, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made, out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("site"), help="folder of the site; replaced")
    args = parser.parse_args()
    if args.out.exists() and not (args.out / "sitemap.xml").is_file() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty and no site; give another --out")
    try:
        build(args.out)
    except subprocess.CalledProcessError:
        print("the site was not built; the lines above say why", file=sys.stderr)
        return 1
    print(args.out / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
