"""What certificate and preview read of a world folder. Nothing here writes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError, WorldgenError
from ..core.frames import camera_pose, mirrored_poses
from ..core.grid import OccupancyGrid
from ..core.mesh import Label, TriMesh
from ..core.scaling import expect_factor, scaled_mesh, scaled_poses
from ..core.splats import GaussianCloud
from ..core.store import load_geometry, load_mesh
from ..core.world import load_world, locate
from ..reconstruction.splat_io import read_splats
from ..sim.occupancy import load_ros_map
from ..sim.usd_read import read_splats_usd, read_visual

MAX_TEXT_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One navigation episode."""

    start_xy_m: tuple[float, float]
    goal_xy_m: tuple[float, float]
    geodesic_m: float


@dataclass(frozen=True, kw_only=True)
class WorldData:
    """A world folder as certificate and preview see it."""

    folder: Path
    mesh: TriMesh
    """With sky."""
    grid: OccupancyGrid
    episodes: tuple[Episode, ...]
    robot_radius_m: float
    robot_height_m: float
    floor_z_m: float
    """Height of the floor."""
    photo_camera: PinholeCamera
    T_world_photo: np.ndarray
    """[4, 4] pose of the photo, see `viewpoint`."""
    manifest: dict[str, Any]
    """Content of `world.json`; empty when there is none."""

    @property
    def scene(self) -> Path:
        return self.folder / "world_scene.usda"

    @property
    def solid(self) -> TriMesh:
        """The mesh without sky: what is there to bump into."""
        if self.mesh.face_labels is None:
            return self.mesh
        keep = self.mesh.face_labels != Label.SKY
        return self.mesh if keep.all() else self.mesh.select_faces(keep)

    @property
    def outdoors(self) -> bool:
        """True under open sky."""
        labels = self.mesh.face_labels
        return labels is not None and bool((labels == Label.SKY).any())

    @property
    def name(self) -> str:
        return Path(str(origin_of(self.manifest).get("name", ""))).stem or self.folder.resolve().name

    @property
    def imported(self) -> bool:
        """True if it does not come from a photo."""
        return "photo" not in self.manifest and "source" in self.manifest


def read_world(folder: Path) -> WorldData:
    """Read a world folder.

    Raises:
        InputError: a part is missing or damaged; the message names the file.
    """
    folder = Path(folder)
    if not (folder / "world_scene.usda").is_file():
        raise InputError(f"no world_scene.usda here; pass a world folder with finished USD files: {folder}")
    manifest = _json_object(folder / "world.json")
    factor = _metres_per_unit(manifest)
    shown = folder / "payloads" / "visual.usdc"
    if "base" in manifest and shown.is_file():
        # A variant that looks different: what its stage shows is all that there is of it.
        mesh = read_visual(shown)
    else:
        mesh = scaled_mesh(load_mesh(locate(folder, "memory/mesh.npz")), factor)
    grid = load_ros_map(locate(folder, "nav/map.yaml"))
    space = _json_object(locate(folder, "nav/free_space.json"))
    camera, T_world_photo = viewpoint(folder, factor)
    return WorldData(
        folder=folder,
        mesh=mesh,
        grid=grid,
        episodes=read_episodes(locate(folder, "nav/episodes.jsonl")),
        robot_radius_m=_number(space, "robot_radius_m", 0.25),
        robot_height_m=_number(space, "robot_height_m", 0.6),
        floor_z_m=_number(space, "floor_z_m", 0.0, -10.0),
        photo_camera=camera,
        T_world_photo=T_world_photo,
        manifest=manifest,
    )


def read_episodes(path: Path) -> tuple[Episode, ...]:
    """Read `episodes.jsonl`; an absent file gives none. Raises `InputError` for a line that makes no sense."""
    if not path.is_file():
        return ()
    episodes = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line)
            start, goal = (_xy(plain, name) for name in ("start", "goal"))
            geodesic_m = float(plain.get("geodesic_m", math.dist(start, goal)))
            if not math.isfinite(geodesic_m) or geodesic_m < 0:
                raise ValueError(f"geodesic_m is {geodesic_m}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"episode in line {number} makes no sense ({error}): {path}") from error
        episodes.append(Episode(start_xy_m=start, goal_xy_m=goal, geodesic_m=geodesic_m))
    return tuple(episodes)


def read_path_poses(folder: Path) -> np.ndarray:
    """Camera path that was explored, [P, 4, 4] in metres; empty when the world does not say."""
    manifest = _json_object(folder / "world.json")
    factor = _metres_per_unit(manifest)
    for name in ("memory/explored.npz", "memory/path.npz"):
        try:
            with np.load(_remembered(folder, name), allow_pickle=False) as file:
                poses = np.asarray(file["Ts_world_path"], float)
        except (OSError, ValueError, KeyError, EOFError):
            continue
        if poses.ndim == 3 and poses.shape[1:] == (4, 4) and len(poses) <= 100_000 and np.isfinite(poses).all():
            return _as_stated(scaled_poses(poses, factor), manifest)
    return np.zeros((0, 4, 4))


def origin_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says about the photo, or about the file that was imported; nothing where it says nothing."""
    origin = manifest.get("photo", manifest.get("source"))
    return origin if isinstance(origin, dict) else {}


def viewpoint(folder: Path, metres_per_unit: float) -> tuple[PinholeCamera, np.ndarray]:
    """Where a world is looked at from: the photo's camera and pose [4, 4] in metres, or what stands in for them.

    An imported world has no photo; its tour begins at a good place, else people look from their own height.
    """
    try:
        geometry = load_geometry(_remembered(folder, "memory/geometry.npz"))
        pose = scaled_poses(geometry.T_world_cam, metres_per_unit)
        return geometry.camera, _as_stated(pose, _json_object(folder / "world.json"))
    except WorldgenError:
        camera = PinholeCamera.from_hfov(640, 480, math.radians(70))
        tour = read_path_poses(folder)
        return camera, tour[0] if len(tour) else camera_pose(np.array([0.0, 0.0, 1.5]))


def has_splats(folder: Path) -> bool:
    """Whether `world_splats` finds any."""
    return any(locate(folder, name).is_file() for name in ("splats.ply", "payloads/splats.usdc"))


def world_splats(folder: Path) -> GaussianCloud:
    """The splats of a world: its portable copy, or of a variant without one what its stage shows.

    Raises:
        InputError: they cannot be read.
    """
    portable = locate(folder, "splats.ply")
    return read_splats(portable) if portable.is_file() else read_splats_usd(locate(folder, "payloads/splats.usdc"))


def _remembered(folder: Path, name: str) -> Path:
    """Where a file of the memory lies; a mirror image is not lent one, but its poses follow from the base's."""
    if _is_mirrored(_json_object(folder / "world.json")) and (base := load_world(folder).base) is not None:
        return locate(base.folder, name)
    return locate(folder, name)


def _as_stated(poses: np.ndarray, manifest: dict[str, Any]) -> np.ndarray:
    """Camera poses [..., 4, 4] of a base as a variant has them: those of a mirror image are mirrored."""
    return mirrored_poses(poses) if _is_mirrored(manifest) else poses


def _is_mirrored(manifest: dict[str, Any]) -> bool:
    base = manifest.get("base")
    return isinstance(base, dict) and base.get("mirrored") is True


def find_photo(folder: Path) -> Path | None:
    """The copy of the input photo."""
    found = sorted(p for p in folder.glob("photo.*") if p.is_file())
    return found[0] if found else None


def _metres_per_unit(manifest: dict[str, Any]) -> float:
    """What takes the memory to metres; 1 where the manifest does not say."""
    scale = manifest.get("scale")
    value = scale.get("metres_per_unit", 1.0) if isinstance(scale, dict) else 1.0
    return expect_factor("scale.metres_per_unit", value if isinstance(value, int | float) else math.nan)


def _xy(plain: dict[str, Any], name: str) -> tuple[float, float]:
    value = plain[name] if name in plain else plain[f"{name}_xy_m"]
    x, y = float(value[0]), float(value[1])
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"{name} is not finite")
    return x, y


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise InputError(f"file is larger than {MAX_TEXT_BYTES} bytes: {path}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"file cannot be read ({error}): {path}") from error


def _json_object(path: Path) -> dict[str, Any]:
    """A JSON object, or nothing when the file is absent."""
    if not path.is_file():
        return {}
    try:
        plain = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"file is not JSON ({error}): {path}") from error
    return plain if isinstance(plain, dict) else {}


def _number(plain: dict[str, Any], name: str, default: float, least: float = 0.01) -> float:
    value = plain.get(name, default)
    ok = isinstance(value, int | float) and math.isfinite(value) and least <= value <= 10
    return float(value) if ok else default
