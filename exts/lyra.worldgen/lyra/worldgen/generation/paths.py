"""Camera paths by name: what `--path` understands, and the planner of each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import ConfigError, InputError
from ..core.frames import camera_pose, rigid, rotation_y
from ..core.journey import Leg
from ..core.mesh import Label
from ..core.views import PhotoGeometry, RgbdView
from .chunk_plan import ChunkPlan, Listed, Planner, looks, walk_chunks
from .dense_walk import dense_walk
from .explore_planner import ExploreOptions, ExplorePlanner
from .painter import FilmFormat
from .scene import Scene
from .trajectory import WIDE_HFOV_RAD, Stop, film_paths, free_space, plan_stops
from .trajectory_drive import quartile_depth
from .trajectory_files import CHUNK_FRAMES, CameraPath, Trajectory, trajectory_of
from .trajectory_presets import PRESETS, preset_path
from .warp import reference_K

TURNS = {
    "auto": "turn, then visit the places from which most of the floor is near",
    "forward": "turn, then walk ahead",
    "loop": "turn, then walk out and back",
    "turn": "a full turn at the photo's place",
}
WALKS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "out-and-back": ("walk ahead, then backwards to where it began", {"distance": 4.0, "times": 1.0}),
    "spin": ("turn on the spot like a film", {"turns": 1.0}),
}
"""Help and options with their defaults."""
EXPLORE = "explore"
EXPLORE_HELP = "the robot decides: look around where most unseen floor shows, room after room"
LOWEST_M, BELOW_CEILING_M = 0.15, 0.15
"""How near a camera comes to floor and ceiling."""
BODY_BELOW_M = 0.3
"""What ends this far below the camera is flown over."""
_FILE = re.compile(r".+\.npz#([0-9a-f]{12})\Z")


@dataclass(frozen=True, kw_only=True)
class PathSpec:
    """A parsed `--path`."""

    name: str
    options: Mapping[str, float | str]
    file_hash: str = ""
    """Of a trajectory file, by which the world keeps it."""


@dataclass(frozen=True, kw_only=True)
class Surrounding:
    """What a planner may look at."""

    geometry: PhotoGeometry
    scene: Scene
    view_long_side_px: int
    T_world_begin: np.ndarray
    """[4, 4] pose where the leg begins."""
    is_first: bool
    """Whether nothing has been explored yet."""
    load_file: Callable[[str], Mapping[str, np.ndarray] | None]
    """Arrays of a trajectory file by its hash."""
    views: Callable[[], Sequence[RgbdView]]
    """Everything that is remembered at the time of asking."""
    film: FilmFormat | None = None
    """Of a painter that paints whole chunks; then every path becomes a film of that format."""

    @property
    def chunk_frames(self) -> int:
        return CHUNK_FRAMES if self.film is None else self.film.frames


def path_names() -> dict[str, str]:
    """Every name that `parse_path` takes, with its help."""
    walks = {name: text for name, (text, _) in WALKS.items()}
    return {**TURNS, EXPLORE: EXPLORE_HELP, **walks, **{name: preset.help for name, preset in PRESETS.items()}}


def path_options(name: str) -> dict[str, float | str]:
    """Options of a named path with their defaults."""
    if name in WALKS:
        return dict(WALKS[name][1])
    if name == EXPLORE:
        plain = ExploreOptions()
        return {"area": plain.area_m2, "places": float(plain.places), "radius": plain.robot_radius_m}
    if name not in PRESETS:
        return {}
    preset = PRESETS[name]
    direction = preset.directions[0] if preset.directions else "right"
    return {"direction": direction, "strength": preset.strength, "frames": float(preset.frames)}


def parse_path(text: str) -> PathSpec:
    """Read `NAME`, `NAME:option=value,...` or `FILE.npz#HASH`.

    Raises:
        ConfigError: unknown name or option, or a value that is none.
    """
    if match := _FILE.match(text):
        return PathSpec(name="file", options={}, file_hash=match[1])
    name, _, rest = text.partition(":")
    known = path_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"unknown path '{name[:60]}'{f', did you mean {near[0]!r}?' if near else ''}; expected a trajectory file "
            f"(.npz) or one of: {', '.join(sorted(known))}"
        )
    options = path_options(name)
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if key not in options or not equals:
            known_options = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in options.items())
            raise ConfigError(
                f"path '{name}' has no option '{part[:60]}'; expected {known_options or 'none, it takes no options'}"
            )
        options[key] = value if isinstance(options[key], str) else _number(name, key, value)
    return PathSpec(name=name, options=options)


def _number(name: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(f"option {key} of path '{name}' is '{value[:40]}'; expected a number") from error
    if not 0 < number <= 10_000:
        raise ConfigError(f"option {key} of path '{name}' is {value[:40]}; expected more than 0, at most 10000")
    return number


def plan_leg(leg: Leg, around: Surrounding) -> Planner:
    """The planner of a leg.

    Raises:
        ConfigError: unknown path, or one that the painter cannot follow.
        InputError: the world does not hold the trajectory file.
    """
    spec = parse_path(leg.path)
    if around.film is not None:
        expect_film(leg.path)
    if spec.name in TURNS:
        return Listed(_turns(spec.name, leg, around) if around.film is None else _film_of(spec.name, leg, around))
    if spec.name == "file":
        return Listed(_file_walk(spec, leg, around))
    if spec.name == EXPLORE:
        return _explorer(leg, around)
    if spec.name in PRESETS:
        return Listed(_preset(spec, leg, around))
    return Listed(_walk(spec, leg, around))


def expect_film(path: str) -> None:
    """Refuse a path that cannot be walked as a film; raises `ConfigError`."""
    if parse_path(path).name == EXPLORE:
        raise ConfigError(
            f"path '{path}' looks at separate places, which a painter of films cannot; expected a trajectory file "
            f"(.npz) or one of: {', '.join(sorted(path_names().keys() - {EXPLORE}))}"
        )


def _film_of(name: str, leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    """A path of separate looks as a film."""
    assert around.film is not None, "only called for films"
    Ts = dense_walk(
        name, around.T_world_begin, around.scene.space, frames=around.film.frames, turn_first=around.is_first
    )
    return _guarded(Ts, [_walk_camera(around)] * len(Ts), leg, around)


def _turns(name: str, leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    width = around.view_long_side_px
    geometry = around.geometry
    stops = plan_stops(
        around.scene.layout,
        around.scene.space,
        path=name,
        camera=PinholeCamera.from_hfov(width, width * 3 // 4, WIDE_HFOV_RAD),
        home=Stop(Ts_world_cam=geometry.T_world_cam[None], camera=geometry.camera),
    )
    if not around.is_first:  # the turn and the way home are there already
        stops = stops[:1] if name == "turn" else stops[1:-1]
        stops = [stop for stop in stops if len(stop.Ts_world_cam)]
    paths = film_paths(stops) if around.is_first else [np.zeros((0, 4, 4)) for _ in stops]
    return [looks(s.Ts_world_cam, s.camera, path, prompt=leg.prompt) for s, path in zip(stops, paths, strict=True)]


def explore_options(path: str) -> ExploreOptions | None:
    """Options of `explore`; None for any other path."""
    spec = parse_path(path)
    if spec.name != EXPLORE:
        return None
    return ExploreOptions(
        robot_radius_m=float(spec.options["radius"]),
        area_m2=float(spec.options["area"]),
        places=round(float(spec.options["places"])),
    )


def _explorer(leg: Leg, around: Surrounding) -> ExplorePlanner:
    options = explore_options(leg.path)
    assert options is not None, "only called for this path"
    width = around.view_long_side_px
    return ExplorePlanner(
        around.scene,
        options,
        around.views,
        camera=PinholeCamera.from_hfov(width, width * 3 // 4, WIDE_HFOV_RAD),
        begin_xy_m=around.T_world_begin[:2, 3],
        prompt=leg.prompt,
        turn_first=around.is_first,
    )


def _file_walk(spec: PathSpec, leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    arrays = around.load_file(spec.file_hash)
    if arrays is None:
        raise InputError(f"the world does not hold the trajectory file of the path '{leg.path}'; give it again")
    trajectory = trajectory_of(arrays, leg.path)
    if len(trajectory.w2c) < 2:
        raise InputError(f"trajectory has 1 frame; expected the first pose and at least one more: {leg.path}")
    film = around.film
    size_hw = frame_size(trajectory, around.view_long_side_px) if film is None else (film.height_px, film.width_px)
    frames = whole_chunks(len(trajectory.w2c), around.chunk_frames)
    path = trajectory.camera_path(size_hw, frames=frames, pose_scale=leg.pose_scale)
    return _camera_walk(path, size_hw, leg, around)


def whole_chunks(frames: int, of: int = CHUNK_FRAMES) -> int:
    """How many frames of a trajectory are walked: the first one and whole chunks, or all when there is not even one."""
    return frames if frames <= of else 1 + of * ((frames - 1) // of)


def _preset(spec: PathSpec, leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    """A path of upstream's, in metres because the world's depth is."""
    camera = _walk_camera(around)
    path = preset_path(
        spec.name,
        K=reference_K(camera),
        centre_depth=centre_depth(around.geometry),
        frames=round(float(spec.options["frames"])),
        strength=float(spec.options["strength"]),
        direction=str(spec.options["direction"]),
        seed=leg.seed or 0,
    )
    return _camera_walk(path, (camera.height_px, camera.width_px), leg, around)


def _camera_walk(path: CameraPath, size_hw: tuple[int, int], leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    """Cameras whose first one is where the walk begins, whatever pose they give it."""
    Ts_path_cam = np.linalg.inv(path.ws2c.astype(np.float64))
    Ts = around.T_world_begin @ np.linalg.inv(Ts_path_cam[0]) @ Ts_path_cam
    cameras = [
        PinholeCamera(
            width_px=size_hw[1],
            height_px=size_hw[0],
            fx_px=float(K[0, 0]),
            fy_px=float(K[1, 1]),
            cx_px=float(K[0, 2]) + 0.5,  # paths count pixel centres as integers
            cy_px=float(K[1, 2]) + 0.5,
        )
        for K in path.Ks
    ]
    return _guarded(Ts, cameras, leg, around)


def frame_size(trajectory: Trajectory, long_side_px: int) -> tuple[int, int]:
    """Height and width with the file's proportions, even as films want them."""
    return _even(*trajectory.size_hw, long_side_px)


def _even(a: float, b: float, long_side: int) -> tuple[int, int]:
    """Two sides scaled to a long side, each rounded to an even number."""
    scale = long_side / max(a, b)
    return max(2, round(a * scale / 2) * 2), max(2, round(b * scale / 2) * 2)


def _walk(spec: PathSpec, leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    """Films along paths of our own."""
    T0 = around.T_world_begin
    if spec.name == "spin":
        turns = float(spec.options["turns"])
        count = max(1, round(turns * around.chunk_frames))
        # Turning right, as the camera's own vertical says; a film of 360 degrees ends where it began.
        # Whole turns are taken off first, so that every turn has the same poses to the last bit.
        angles = 2 * np.pi * (np.mod(np.arange(count + 1) * turns, count) / count)
        heading = np.arctan2(T0[1, 2], T0[0, 2])
        up = np.eye(4)
        up[:3, :3] = camera_pose(np.zeros(3), heading_rad=float(heading))[:3, :3]
        tilt = np.linalg.inv(up) @ rigid(T0[:3, :3], np.zeros(3))
        Ts = np.stack(
            [rigid((up @ rigid(rotation_y(float(a)), np.zeros(3)) @ tilt)[:3, :3], T0[:3, 3]) for a in angles]
        )
    else:
        distance, times = float(spec.options["distance"]), round(float(spec.options["times"]))
        ahead = np.array([T0[0, 2], T0[1, 2], 0.0])
        ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
        out = np.linspace(0, distance, around.chunk_frames + 1)
        along = np.concatenate([[0.0], *[np.concatenate([out[1:], out[-2::-1]]) for _ in range(times)]])
        Ts = np.stack([rigid(T0[:3, :3], T0[:3, 3] + s * ahead) for s in along])
    camera = _walk_camera(around)
    return _guarded(Ts, [camera] * len(Ts), leg, around)


def _walk_camera(around: Surrounding) -> PinholeCamera:
    camera, film = around.geometry.camera, around.film
    return walk_camera(camera, around.view_long_side_px) if film is None else film_camera(camera, film)


def film_camera(camera: PinholeCamera, film: FilmFormat) -> PinholeCamera:
    """The photo's camera at the size of a film, cut at two sides where the proportions differ, around the middle."""
    scale = max(film.width_px / camera.width_px, film.height_px / camera.height_px)
    return PinholeCamera(
        width_px=film.width_px,
        height_px=film.height_px,
        fx_px=camera.fx_px * scale,
        fy_px=camera.fy_px * scale,
        cx_px=camera.cx_px * scale + (film.width_px - camera.width_px * scale) / 2,
        cy_px=camera.cy_px * scale + (film.height_px - camera.height_px * scale) / 2,
    )


def walk_camera(camera: PinholeCamera, long_side_px: int) -> PinholeCamera:
    """The photo's field of view at the size of painted frames, even as films want it."""
    scale = long_side_px / max(camera.width_px, camera.height_px)
    return camera.resized(
        max(2, round(camera.width_px * scale / 2) * 2), max(2, round(camera.height_px * scale / 2) * 2)
    )


def _guarded(Ts: np.ndarray, cameras: list[PinholeCamera], leg: Leg, around: Surrounding) -> list[ChunkPlan]:
    layout = around.scene.layout
    highest = np.inf if layout.ceiling_m is None else layout.ceiling_m - BELOW_CEILING_M
    lowest_camera = max(LOWEST_M, float(Ts[:, 2, 3].min()))
    space = free_space(layout, above_m=lowest_camera - BODY_BELOW_M)
    return walk_chunks(
        Ts,
        cameras,
        space=space,
        height_range_m=(LOWEST_M, highest),
        leg=leg,
        frames_per_chunk=around.chunk_frames,
        fill_last=around.film is not None,
    )


def centre_depth(geometry: PhotoGeometry) -> float:
    """Upstream's measure of the scene's size, taken where the depth is a measurement [m]."""
    real = ~np.isin(geometry.labels, (Label.SKY, Label.BACKDROP))
    return quartile_depth(geometry.depth_z_m, real if real.any() else None)
