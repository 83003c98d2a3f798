"""`vary_world`: variants of one finished world, each a thin world folder of its own.

A variant is made in a folder aside and moved to its place whole; then PhysX measures it, as every world. A call that
was stopped goes on when it is given again, and a larger count adds variants to those that are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..build import rerun_stage
from ..core.base_world import BaseRecord
from ..core.errors import ConfigError, InputError
from ..core.files import naming, sha256_file, sha256_json, write_json
from ..core.manifest import MANIFEST_NAME, SCALE_STAGES, VARY, FileRecord, Manifest, StageRecord, manifest_to_json
from ..core.mesh import TriMesh
from ..core.progress import SILENT, Progress
from ..core.schema import MAX_SEED, resolved_dict
from ..core.version import generator_name
from ..core.world import World, load_world
from ..core.world_writer import held
from .base import Base, read_base
from .clutter import Placed, Thing, place_clutter
from .config import VaryConfig
from .draw import Draw, draw
from .folders import is_variant, made_aside, remove_variant
from .lamps import FoundLamp, find_lamps, light_shares
from .navigation import write_variant_navigation
from .sheet import write_sheet
from .splats import floaters, thing_splats
from .stage import Additions, relative, surfaces, write_index, write_stage
from .styles import STYLES_NAME, Style, Styles

MOST = 4096
"""Variants of one world; as many as a robot task takes."""
REVISION = 2
"""Of how a draw becomes files; part of what a variant is recognised by."""
INDEX_NAME, SHEET_NAME, STAGE_NAME = "variants.json", "variants.png", "variants.usda"
_TOLD = ("certificate.*", "preview.*", "walkthrough.*", ".thumbs/")
"""What the base says about itself only."""
_PORTABLE = ("mesh.glb", "mesh_lod*", "splats.ply", "points.ply", "payloads/splats_nurec.usdz")
"""Copies for other programs, which show the base."""


@dataclass(frozen=True, kw_only=True)
class Variants:
    """What a call made."""

    folder: Path
    names: tuple[str, ...]
    """Of the variants' folders."""
    made: int
    """How many are new; the others were there."""
    verdicts: Mapping[str, str]
    """What the certificate says, by name; empty where none was made."""
    bytes: int
    """Of all files below `folder`."""
    base_bytes: int
    """Of all files of the world that they are variants of."""

    @property
    def disk_share(self) -> float:
        """Disk that they take, over as many copies of the world."""
        return self.bytes / max(1, self.base_bytes * len(self.names))


def vary_world(
    folder: Path,
    out: Path,
    *,
    count: int,
    seed: int,
    cfg: VaryConfig,
    certify: bool = True,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Variants:
    """Make variants of a world, `variant_000` and so on, with a picture, a list and a stage of all of them.

    Args:
        folder: a finished world. It is only read, and must stay where it is relative to `out`.
        out: folder of the variants; missing, empty, or one with variants of the same world, seed and ranges.
        count: how many.
        seed: variant k depends on it and on k.
        cfg: ranges.
        certify: measure each in PhysX.
        overwrite: replace variants of another world, seed or ranges that lie in `out`, and remove all variants and
            styles there that this call does not name; files that their records do not name stay.
        progress: told about `vary` and `certify`; may cancel between variants.

    Raises:
        InputError: no such world, or `out` holds other things or other variants.
        ConfigError: `count` or `seed` out of range.
        DependencyError: a package of the extra `sim` is missing.
        Cancelled: through `progress`; what is finished stays.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(f"count is {count}; expected 1 to {MOST}")
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed is {seed}; expected 0 to {MAX_SEED}")
    folder, out = Path(folder), Path(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"variants cannot lie in the world that they are made from; choose another --out: {out}")
    progress.step("vary", 0, count + 1, "reading the world")
    base = read_base(folder)
    _expect_ours(out)
    with naming("make the output folder", out):
        out.mkdir(parents=True, exist_ok=True)
    names = [f"variant_{k:03d}" for k in range(count)]
    styles = Styles(out, base, cfg.styles, seed=seed)
    lamps = find_lamps(base.world) if cfg.light.found and base.indoors else ()
    shares = light_shares(lamps)
    made = 0
    with held(
        out / ".lock", f"another process{{owner}} makes variants here; wait for it or choose another --out: {out}"
    ):
        inputs = [_inputs(base, cfg, seed=seed, index=k) for k in range(count)]
        # All of them first: a folder of other variants is refused before anything in it is replaced.
        there = [_is_there(out / name, i, overwrite=overwrite) for name, i in zip(names, inputs, strict=True)]
        for k, name in enumerate(names):
            drawn = draw(cfg, seed=seed, index=k, lamp_shares=shares)
            # Also of a variant that is there: a style that was damaged is made again.
            style = None if drawn.style is None or styles.refused else styles.get(drawn.style)
            if not there[k]:
                refused = "" if drawn.style is None else styles.refused
                if is_variant(out / name):
                    remove_variant(out / name)
                with made_aside(out / name, MANIFEST_NAME) as partial:
                    manifest = _write(
                        partial, base, cfg, drawn, style, lamps, refused=refused, seed=seed, index=k, inputs=inputs[k]
                    )
                    write_json(partial / MANIFEST_NAME, manifest_to_json(manifest))
                made += 1
            progress.step("vary", k + 1, count + 1, name)
        write_index(out / STAGE_NAME, names)
        write_sheet(out / SHEET_NAME, base, [load_world(out / name) for name in names], progress)
        _write_list(out, base, names, seed=seed, cfg=cfg)
        if overwrite:
            for entry in sorted(out.glob("variant_*")):
                if entry.name not in names and is_variant(entry):
                    remove_variant(entry)
            styles.remove_others()
        progress.step("vary", count + 1, count + 1, "written")
        if certify:
            for k, name in enumerate(names):
                progress.step("certify", k, count, name)
                if not load_world(out / name).verdict:
                    rerun_stage(out / name, "certify", progress=_Quiet(progress))
            progress.step("certify", count, count)
            _write_list(out, base, names, seed=seed, cfg=cfg)
    worlds = {name: load_world(out / name) for name in names}
    return Variants(
        folder=out,
        names=tuple(names),
        made=made,
        verdicts={name: world.verdict for name, world in worlds.items()},
        bytes=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        base_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


class _Quiet(Progress):
    """Passes on the wish to stop and nothing else: the bar counts variants."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def keep_going(self) -> bool:
        return self._outer.keep_going()


def _expect_ours(out: Path) -> None:
    """Refuse a folder that holds anything but variants."""
    with naming("use the output folder", out):
        if not out.exists():
            return
        if not out.is_dir():
            raise InputError(f"the output is a file; choose a folder: {out}")
        known = {INDEX_NAME, SHEET_NAME, STAGE_NAME, STYLES_NAME}
        for entry in sorted(out.iterdir()):
            ours = entry.name in known or entry.name.startswith((".", "variant_"))
            if not ours:
                raise InputError(f"the output folder holds other things ({entry.name}); choose a new one: {out}")


def _inputs(base: Base, cfg: VaryConfig, *, seed: int, index: int) -> str:
    """Hash of everything that decides a variant."""
    manifest = base.world.manifest
    decides = {"id": manifest.id, "content": manifest.content_sha256, "ranges": resolved_dict(cfg)}
    return sha256_json({**decides, "seed": seed, "index": index, "revision": REVISION})


def _is_there(folder: Path, inputs: str, *, overwrite: bool) -> bool:
    """Whether a variant is finished; raises `InputError` for another one that may not be replaced."""
    if not (folder / MANIFEST_NAME).is_file():
        return False
    world = load_world(folder)
    record = world.manifest.stages.get(VARY)
    if world.manifest.base is None:
        raise InputError(f"this is a world and no variant; choose another --out: {folder}")
    if record is None:
        return False  # its removal was stopped
    if record.inputs == inputs:
        return all((folder / name).is_file() for name in record.files) and world.check_files([VARY]).ok
    if not overwrite:
        raise InputError(
            "the output folder holds variants of another world, seed or ranges; choose another --out, or pass "
            f"--overwrite to make them anew: {folder}"
        )
    return False


def _write(
    folder: Path,
    base: Base,
    cfg: VaryConfig,
    drawn: Draw,
    style: Style | None,
    lamps: Sequence[FoundLamp],
    *,
    refused: str,
    seed: int,
    index: int,
    inputs: str,
) -> Manifest:
    source = base.world.manifest
    stated = (source.fact(stage, "scale") for stage in SCALE_STAGES)
    scale = next((fact for fact in stated if fact is not None), None)
    notes: list[str] = []
    mirrored = drawn.mirrored and not base.unmirrorable
    if drawn.mirrored and not mirrored:
        notes.append(f"not mirrored: {base.unmirrorable}")
    if base.indoors and cfg.light.sun[1] > 0:
        notes.append("no sun: a lamp hangs in a closed room")
    if cfg.light.found and base.indoors and not lamps:
        notes.append("no lamp is found in the photo: the scene's own hangs there")
    if drawn.style is not None and style is None:
        notes.append(f"no other materials: {refused}")
    placed = place_clutter(
        drawn.clutter,
        cfg.clutter,
        base.grid,
        base.episodes,
        floor_z_m=base.floor_z_m,
        robot=base.robot,
        seed=seed,
        index=index,
    )
    if len(placed.things) < drawn.clutter:
        notes.append(f"{len(placed.things)} of {drawn.clutter} things found room")
    palette = base.palette if style is None else style.palette
    additions = _additions(base, cfg, drawn, placed, palette, seed=seed, index=index)
    write_stage(folder, base, drawn, additions, mirrored=mirrored, style=style, lamps=lamps)
    if mirrored or placed.things:
        write_variant_navigation(
            folder / "nav", base, placed, mirrored=mirrored, anew=cfg.clutter.blocking, seed=seed, index=index
        )
    files = {
        path.relative_to(folder).as_posix(): FileRecord(size=path.stat().st_size, sha256=sha256_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    hidden = _hidden(
        mirrored=mirrored, things=bool(placed.things), splats_added=bool(additions.splats), styled=style is not None
    )
    facts: dict[str, Any] = {
        "seed": seed,
        "index": index,
        "values": {**drawn.as_dict(), "mirrored": mirrored},
        "lamps": [lamp.as_dict() for lamp in lamps],
        "style": None if style is None else style.facts(),
        "surfaces": {kind: list(values) for kind, values in sorted(surfaces(base, drawn).items())},
        "things": [thing.as_dict() for thing in placed.things],
        "ranges": json.loads(json.dumps(resolved_dict(cfg))),
        "notes": notes,
        **({} if scale is None else {"scale": scale}),
    }
    # Time is left out: making a variant takes none worth telling, and equal runs are equal to the byte.
    licence = "" if source.licence == "none" else source.licence
    record = StageRecord(inputs=inputs, backend="usd", weights_licence=licence, files=files, facts=facts)
    return Manifest(
        generator=generator_name(),
        photo=source.photo,
        config=source.config,
        plan=(VARY, "certify"),
        stages={VARY: record},
        parents=(source.id,),
        base=BaseRecord(
            path=relative(folder, base.folder),
            id=source.id,
            sha256=source.content_sha256,
            hidden=hidden,
            mirrored=mirrored,
        ),
    )


def _hidden(*, mirrored: bool, things: bool, splats_added: bool, styled: bool) -> tuple[str, ...]:
    """Files of the base that do not show the variant."""
    if mirrored:
        return (*_TOLD, *_PORTABLE, "memory/")
    if styled:
        return (*_TOLD, *_PORTABLE, "memory/mesh.npz", "memory/splats.npz", "memory/views/")
    if things:
        # What was seen and from where is still true of the place without them.
        return (*_TOLD, *_PORTABLE, "memory/mesh.npz", "memory/splats.npz")
    return (*_TOLD, "splats.ply", "payloads/splats_nurec.usdz", "memory/splats.npz") if splats_added else _TOLD


def _additions(
    base: Base, cfg: VaryConfig, drawn: Draw, placed: Placed, palette: np.ndarray, *, seed: int, index: int
) -> Additions:
    """Surfaces and splats of what stands on the floor, and floaters."""
    things, splats = {}, {}
    for i, thing in enumerate(placed.things):
        name = f"clutter_{i:03d}"
        colour = (index * 7 + i * 13) % len(base.palette)
        things[name] = _coloured(thing, base, colour)
        if base.has_splats:
            splats[name] = thing_splats(thing, base.floor_z_m, palette[colour])
    if base.has_splats and drawn.floaters:
        splats["floaters"] = floaters(drawn.floaters, cfg.splats, placed.space, palette, seed=seed, index=index)
    return Additions(things=things, splats=splats)


def _coloured(thing: Thing, base: Base, colour: int) -> TriMesh:
    """A thing in a colour that occurs in the world: by a place in its texture where it has one."""
    mesh = thing.mesh(base.floor_z_m)
    if base.mesh.uv is None or base.mesh.texture_u8 is None:
        rgb = np.rint(255 * base.palette[colour]).astype(np.uint8)
        return replace(mesh, vertex_rgb_u8=np.tile(rgb, (len(mesh.vertices), 1)))
    uv = np.tile(base.palette_uv[colour].astype(np.float32), (mesh.face_count, 3, 1))
    return replace(mesh, uv=uv, texture_u8=base.mesh.texture_u8)


def _write_list(out: Path, base: Base, names: list[str], *, seed: int, cfg: VaryConfig) -> None:
    """`variants.json`: what was drawn for each, for programs."""
    worlds = [load_world(out / name) for name in names]
    write_json(
        out / INDEX_NAME,
        {
            "base": {"path": relative(out, base.folder), "id": base.world.manifest.id},
            "seed": seed,
            "ranges": json.loads(json.dumps(resolved_dict(cfg))),
            "worlds": [_row(world) for world in worlds],
        },
    )


def _row(world: World) -> dict[str, Any]:
    facts = world.facts(VARY)
    return {
        "folder": world.folder.name,
        "id": world.manifest.id,
        "verdict": world.verdict or None,
        "values": facts["values"],
        "style": facts["style"],
        "things": len(facts["things"]),
        "notes": facts["notes"],
    }
