"""`export_site`: world folder in, static site out.

The site is the page in `site/`, built from `tools/web`, beside the world's layers and `site.json`, which says where
they lie and where a visitor starts. It asks no other server for anything.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..certify.world_data import read_world
from ..core.errors import InputError
from ..core.files import naming, write_json
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..preview.run import read_certificate
from ..sim.usd_read import read_colliders
from .about import DATA_FORMAT, describe, start_points
from .layers import LayerFile, file_entry, write_collider, write_mesh, write_splat_levels

SITE_FILE = "site.json"
PAGE = Path(__file__).resolve().parent / "site"
PAGE_FILES = ("index.html", "style.css", "app.js", "licences.txt")
BYTES_PER_MB = 1_000_000
MESH_SHARE = 0.4
"""Most of the budget that the mesh may take when there are splats, too."""
ROOM_FOR_TEXT = 64_000
"""What `site.json` may take [bytes]."""
LEAST_LAYERS = 300_000
"""With less than this left for splats and mesh [bytes] there is nothing worth seeing."""
CERTIFICATE_LIMIT = 2_000_000
STEP_M = 0.3
"""Highest step that a visitor walks up."""
RADIUS_M = 0.25
EYE_M = 1.6
EYE_RANGE_M = (1.2, 1.9)
"""Heights of the photo's camera that a visitor's eyes take over."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What was written."""

    folder: Path
    bytes: int
    """All files together."""
    splats: tuple[int, ...]
    """Count of each level of detail, coarse first; empty without splats."""
    splats_in_world: int
    mesh: bool


def export_site(
    folder: Path,
    out: Path,
    *,
    max_mb: float = 40.0,
    name: str = "",
    photo_licence: str = "",
    progress: SupportsProgress = SILENT,
) -> Site:
    """Write the site of a finished world.

    Args:
        folder: the world.
        out: made if missing; an older site there is replaced when the new one is complete.
        max_mb: most that all files take together [10^6 bytes]; splats are merged and the texture is halved until they
            do.
        name: title of the page; the photo's name by default.
        photo_licence: of the photo, as its owner states it, shown on the page.

    Raises:
        InputError: no finished world, no room for it, or `out` holds something that is no site.
        DependencyError: a package that reads USD, writes glTF or casts rays is missing.
        Cancelled: through `progress`.
    """
    if not 1 <= max_mb <= 10_000:
        raise InputError(f"max_mb is {max_mb}; expected between 1 and 10000")
    folder, out = Path(folder), Path(out)
    _check_target(out)
    missing = [file for file in PAGE_FILES if not (PAGE / file).is_file()]
    if missing:
        raise InputError(
            f"the page is not built ({', '.join(missing)}); run: npm ci && npm run build, in tools/web: {PAGE}"
        )
    progress.step("export", 0, 5, "reading the world")
    world = read_world(folder)
    collider = read_colliders(world.scene).mesh
    partial = out.with_name(f".{out.name}.partial")
    with naming("write", partial):
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "world").mkdir(parents=True)
        try:
            for file in PAGE_FILES:
                shutil.copyfile(PAGE / file, partial / file)
            certificate = folder / "certificate.html"
            has_page = certificate.is_file() and certificate.stat().st_size < CERTIFICATE_LIMIT
            if has_page:
                shutil.copyfile(certificate, partial / certificate.name)
            progress.step("export", 1, 5, "collider")
            solid = write_collider(partial / "world", collider)
            left = int(max_mb * BYTES_PER_MB) - ROOM_FOR_TEXT - _size(partial)
            if left < LEAST_LAYERS:
                raise InputError(
                    f"--max-mb is {max_mb:g}, of which page and collider take {_size(partial) / BYTES_PER_MB:.1f}; "
                    f"expected at least {(int(max_mb * BYTES_PER_MB) - left + LEAST_LAYERS) / BYTES_PER_MB:.1f}"
                )
            splats_ply = folder / "splats.ply"
            progress.step("export", 2, 5, "mesh")
            mesh = write_mesh(partial / "world", world, int(left * (MESH_SHARE if splats_ply.is_file() else 1)))
            levels: tuple[LayerFile, ...] = ()
            in_world = 0
            if splats_ply.is_file():
                left -= mesh.bytes if mesh else 0
                progress.step("export", 3, 5, "splats")
                levels, in_world = write_splat_levels(partial / "world", splats_ply, left)
            if not levels and mesh is None:
                raise InputError(f"nothing of this world fits into {max_mb:g} MB: {folder}")
            progress.step("export", 4, 5, "site")
            height_m = float(world.T_world_photo[2, 3]) - world.floor_z_m
            site = {
                "format": DATA_FORMAT,
                "name": name or world.name,
                "outdoors": world.outdoors,
                "facts": describe(
                    world,
                    photo_licence=photo_licence,
                    certificate_page=certificate.name if has_page else "",
                    shown=levels[-1].count if levels else 0,
                    in_world=in_world,
                ),
                "files": {
                    "collider": file_entry(solid),
                    "mesh": file_entry(mesh) if mesh else None,
                    "splats": [file_entry(level) for level in levels],
                },
                "walk": {
                    "eye_m": round(height_m, 3) if EYE_RANGE_M[0] <= height_m <= EYE_RANGE_M[1] else EYE_M,
                    "radius_m": min(RADIUS_M, world.robot_radius_m),
                    "step_m": STEP_M,
                },
                "spawns": start_points(world, read_certificate(folder), Raycaster(collider)),
            }
            write_json(partial / SITE_FILE, site)
            size = _size(partial)
            _put_in_place(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    progress.step("export", 5, 5, "written")
    return Site(
        folder=out,
        bytes=size,
        splats=tuple(level.count for level in levels),
        splats_in_world=in_world,
        mesh=mesh is not None,
    )


def _check_target(out: Path) -> None:
    """Refuse to replace what nobody would expect to be replaced."""
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / SITE_FILE).is_file()):
        raise InputError(f"this exists and is no exported site; choose another folder or remove it: {out}")


def _put_in_place(partial: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
