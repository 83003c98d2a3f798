"""Packs the Kit extension with all that it needs into one zip, for an extension search path.

python tools/pack_extension.py [--out FOLDER]

The zip holds one folder, `lyra.worldgen`: manifest, data, pages, the package, and `robot_tasks` for the task that a
robot drives. The same files make the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
import zipfile
from pathlib import Path

from check_files import ROOT, repository_files

EXTENSION = Path("exts") / "lyra.worldgen"
TASKS = Path("robot_tasks") / "lyra_tasks"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def packed_files() -> dict[str, Path]:
    """What is packed: name in the zip, file in the repository."""
    found = {"lyra.worldgen/LICENSE": Path("LICENSE")}
    for path in repository_files():
        if path.is_relative_to(EXTENSION):
            found[(Path("lyra.worldgen") / path.relative_to(EXTENSION)).as_posix()] = path
        elif path.is_relative_to(TASKS):
            found[(Path("lyra.worldgen") / path).as_posix()] = path
    return dict(sorted(found.items()))


def pack(folder: Path) -> Path:
    """Write the zip; its path."""
    manifest = tomllib.loads((ROOT / EXTENSION / "config" / "extension.toml").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"lyra.worldgen-{manifest['package']['version']}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, path in packed_files().items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, (ROOT / path).read_bytes())
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder of the zip")
    target = pack(parser.parse_args().out)
    print(f"{target} ({target.stat().st_size / 2**20:.1f} MiB, {len(packed_files())} files)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
