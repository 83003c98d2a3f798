#!/usr/bin/env python3
"""Writes docs/gallery.md: worlds with their pictures and certificates.

    python tools/site/gallery.py WORLD ...      world folders, or folders of worlds

Pictures go to docs/images/gallery, small enough to live in the repository. Give only worlds whose photos everyone may
show. What a certificate says is copied line by line; nothing is computed here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from lyra.worldgen.core.errors import WorldgenError
from lyra.worldgen.core.world import World, load_world

ROOT = Path(__file__).resolve().parents[2]
WIDTH_PX = 900
HEAD = """# Gallery

Every picture is the `preview.png` of a generated world: first what went in, then what came out, rendered from the
world itself. Default settings unless the heading says otherwise. Below each stands what its certificate measured when
a robot drove through it in PhysX.
"""


def worlds_in(place: Path) -> list[World]:
    """The world that a folder is, or those that lie in it.

    Raises:
        InputError, WorldgenError: neither.
    """
    if (place / "world.json").is_file():
        return [load_world(place)]
    found = [load_world(f) for f in sorted(place.iterdir()) if (f / "world.json").is_file()] if place.is_dir() else []
    if not found:
        raise WorldgenError(f"no world folder lies there; give the folder of a finished world: {place}")
    return found


def entry(world: World, images: Path) -> str:
    """The part of one world; its picture is written."""
    name = world.folder.name
    with Image.open(world.folder / "preview.png") as picture:
        picture.thumbnail((WIDTH_PX, 10 * WIDTH_PX))
        picture.convert("RGB").save(images / f"{name}.jpg", quality=80)
    certificate = json.loads((world.folder / "certificate.json").read_text(encoding="utf-8"))
    scale = world.manifest.scale
    origin = world.manifest.photo
    facts = [
        f"{'Imported' if origin.imported else 'From'} the {origin.kind} `{origin.name}`",
        f"**{certificate['summary']}**",
        f"{certificate['facts']['connected_area_m2']:.0f} m² of connected free floor",
        f"{certificate['facts']['faces']:,} triangles to look at",
        f"{certificate['facts']['collision_shapes']} collision shapes",
        *([scale.text] if scale is not None else []),
    ]
    rows = "\n".join(map(certificate_row, certificate["lines"]))
    return (
        f"## {name.replace('_', ' ').capitalize()}\n\n![{name}: what went in, and views of the world]"
        f"(images/gallery/{name}.jpg)\n\n{'; '.join(facts)}.\n\n<details markdown>\n<summary>Certificate</summary>\n\n"
        f"| | check | measured | limit |\n| --- | --- | --: | --- |\n{rows}\n\n</details>\n"
    )


def certificate_row(line: dict[str, Any]) -> str:
    """One check as a row of a table."""
    measured = "not measured" if line["measured"] is None else f"{line['measured']:.4g} {line['unit']}".strip()
    limit = "" if line["limit"] is None else f"{line['comparison']} {line['limit']:g}"
    return f"| {line['status']} | {line['title']} | {measured} | {limit} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", type=Path, nargs="+", metavar="WORLD", help="world folder, or folder of worlds")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    args = parser.parse_args()
    images = args.docs / "images" / "gallery"
    try:
        worlds = [world for place in args.worlds for world in worlds_in(place)]
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        parts = [entry(world, images) for world in worlds]
    except (WorldgenError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (args.docs / "gallery.md").write_text("\n".join([HEAD, *parts]), encoding="utf-8")
    print(args.docs / "gallery.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
