"""What variants need to know of the world that they are made from, read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.config import SimulationConfig, config_from_dict
from ..core.errors import InputError
from ..core.grid import OccupancyGrid
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.world import World, load_world
from ..sim.episodes import Episode
from ..sim.occupancy import load_ros_map
from ..sim.surface_materials import MATERIALS
from ..sim.usd_read import read_visual
from ..sim.usd_splats import GAUSSIANS, SKY
from .mirror import can_mirror

NEEDED = ("world.usda", "world_scene.usda", "payloads/visual.usdc", "payloads/collision.usdc", "nav/map.yaml")
PALETTE = 64


@dataclass(frozen=True, kw_only=True)
class Material:
    """A physics material of the base."""

    static_friction: float
    dynamic_friction: float
    restitution: float
    published: tuple[float, float]
    """Range of dynamic friction that is reported for what it is."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A finished world."""

    world: World
    mesh: TriMesh
    """What is seen, with texture if there is one."""
    grid: OccupancyGrid
    episodes: tuple[Episode, ...]
    robot: SimulationConfig
    """Its simulation settings, with the robot's size and the cells as the navigation data have them."""
    floor_z_m: float
    dome: float
    """Intensity of the dome light."""
    lamp: float
    """Intensity of the lamp, 0 without."""
    lamp_xyz_m: tuple[float, float, float]
    materials: Mapping[str, Material]
    """Of colliders, by kind."""
    textured: bool
    """Whether the visible material has a texture, whose factor can be set."""
    has_splats: bool
    unmirrorable: str
    """Why it cannot be mirrored; empty if it can."""
    unstyled: str
    """Why its surfaces cannot be of other materials; empty if they can."""
    palette: np.ndarray
    """[K, 3] sRGB colours in 0..1 that occur in it."""
    palette_uv: np.ndarray
    """[K, 2] where they are in the texture."""

    @property
    def folder(self) -> Path:
        return self.world.folder

    @property
    def indoors(self) -> bool:
        """Whether a lamp hangs in it."""
        return self.lamp > 0


def read_base(folder: Path) -> Base:
    """Read what variants of a world are made from.

    Raises:
        InputError: no finished world, a variant, or files that are not as its stages left them.
        DependencyError: usd-core or SciPy is missing.
    """
    world = load_world(folder)
    if world.manifest.base is not None:
        raise InputError(
            f"this is a variant of '{world.manifest.base.path}' already; vary that world, with other ranges: {folder}"
        )
    missing = [name for name in NEEDED if not world.has(name)]
    if missing:
        raise InputError(f"the world has no {missing[0]}; finish it with: lyra-worldgen generate: {folder}")
    for finding in world.check_files():
        raise InputError(f"{finding.message}; repair it with: lyra-worldgen finish: {folder}")
    Usd = require("pxr.Usd", extra="sim", package="usd-core")
    scene = Usd.Stage.Open(str(world.path("world_scene.usda")), Usd.Stage.LoadNone)
    lamp = scene.GetPrimAtPath("/World/Lights/lamp")
    colliders = Usd.Stage.Open(str(world.path("payloads/collision.usdc")))
    visual = Usd.Stage.Open(str(world.path("payloads/visual.usdc")))
    mesh = read_visual(world.path("payloads/visual.usdc"))
    space = json.loads(world.path("nav/free_space.json").read_bytes())
    grid = load_ros_map(world.path("nav/map.yaml"))
    palette, palette_uv = _palette(mesh)
    return Base(
        world=world,
        mesh=mesh,
        grid=grid,
        episodes=_episodes(world),
        robot=replace(
            config_from_dict(world.manifest.config).simulation,
            robot_radius_m=float(space["robot_radius_m"]),
            robot_height_m=float(space["robot_height_m"]),
            cell_m=grid.cell_m,
        ),
        floor_z_m=float(space["floor_z_m"]),
        dome=_number(scene.GetPrimAtPath("/World/Lights/dome"), "inputs:intensity", 1000.0),
        lamp=_number(lamp, "inputs:intensity", 0.0),
        lamp_xyz_m=_position(lamp),
        materials=_materials(colliders),
        textured=bool(visual.GetPrimAtPath("/World/Looks/world/albedo")),
        has_splats=world.has("payloads/splats.usdc"),
        unmirrorable=_unmirrorable(world),
        unstyled=_unstyled(world, mesh),
        palette=palette,
        palette_uv=palette_uv,
    )


def _unmirrorable(world: World) -> str:
    if world.has("payloads/objects.usdc"):
        return "the world has bodies that can be pushed, and those are not mirrored"
    names = [f"payloads/{name}.usdc" for name in ("collision", "collision_convex")]
    if not all(can_mirror(world.path(name)) for name in names if world.has(name)):
        return "the world has colliders of a kind that is not mirrored"
    return ""


def _unstyled(world: World, mesh: TriMesh) -> str:
    Usd = require("pxr.Usd", extra="sim", package="usd-core")
    if mesh.uv is None or mesh.texture_u8 is None:
        return "the world's mesh has no texture"
    if mesh.face_labels is None or not np.isin(mesh.face_labels, (Label.FLOOR, Label.WALL, Label.CEILING)).any():
        return "the world's mesh does not say what is floor, wall or ceiling"
    if world.has("payloads/splats.usdc"):
        # Kept while it is looked through: prims die with their stage.
        stage = Usd.Stage.Open(str(world.path("payloads/splats.usdc")))
        splats = [str(p.GetPath()) for p in stage.Traverse() if p.GetTypeName() == "ParticleField3DGaussianSplat"]
        if GAUSSIANS not in splats or not set(splats) <= {GAUSSIANS, SKY}:
            return "the world's splats are written in a way that is not restyled"
    return ""


def _episodes(world: World) -> tuple[Episode, ...]:
    """The world's episodes; raises `InputError` for a line that makes no sense."""
    found = []
    path = world.path("nav/episodes.jsonl")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found.append(
                Episode(
                    index=int(row["id"]),
                    start_xy_m=(float(row["start"][0]), float(row["start"][1])),
                    start_yaw_rad=float(row["start"][3]),
                    goal_xy_m=(float(row["goal"][0]), float(row["goal"][1])),
                    geodesic_m=float(row["geodesic_m"]),
                    difficulty=str(row["difficulty"]),
                    waypoints_xy_m=tuple((float(x), float(y)) for x, y in row["waypoints"]),
                    clearance_m=float(row["clearance_m"]),
                )
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"episode in line {number} makes no sense ({error}): {path}") from error
    return tuple(found)


def _materials(stage: Any) -> dict[str, Material]:
    found = {}
    scope = stage.GetPrimAtPath("/World/PhysicsMaterials")
    for prim in scope.GetChildren() if scope else ():
        row = MATERIALS.get(str((prim.GetCustomDataByKey("lyra") or {}).get("material", "")))
        dynamic = _number(prim, "physics:dynamicFriction", 0.5)
        found[prim.GetName()] = Material(
            static_friction=_number(prim, "physics:staticFriction", 0.5),
            dynamic_friction=dynamic,
            restitution=_number(prim, "physics:restitution", 0.0),
            published=(dynamic, dynamic) if row is None else row.friction_range,
        )
    return found


def _number(prim: Any, name: str, default: float) -> float:
    value = prim.GetAttribute(name).Get() if prim and prim.HasAttribute(name) else None
    return default if value is None else float(value)


def _position(prim: Any) -> tuple[float, float, float]:
    value = prim.GetAttribute("xformOp:translate").Get() if prim else None
    return (0.0, 0.0, 0.0) if value is None else (float(value[0]), float(value[1]), float(value[2]))


def _palette(mesh: TriMesh) -> tuple[np.ndarray, np.ndarray]:
    """Colours of solid faces, each square metre counting alike, from dark to light, and where they are."""
    if mesh.uv is None or mesh.texture_u8 is None:
        return np.full((1, 3), 0.55), np.zeros((1, 2))
    area = mesh.face_areas_m2()
    if mesh.face_labels is not None:
        area = np.where(np.isin(mesh.face_labels, (Label.SKY, Label.BACKDROP)), 0.0, area)
    rng = np.random.default_rng(0x70616C)
    chosen = np.searchsorted(np.cumsum(area) / area.sum(), rng.random(PALETTE)).clip(max=mesh.face_count - 1)
    uv = mesh.uv[chosen].astype(float).mean(1)
    h, w = mesh.texture_u8.shape[:2]
    col = np.clip(uv[:, 0] * w, 0, w - 1).astype(int)
    row = np.clip((1 - uv[:, 1]) * h, 0, h - 1).astype(int)
    colours = mesh.texture_u8[row, col] / 255.0
    order = np.argsort(colours.sum(1), kind="stable")
    return colours[order], uv[order]
