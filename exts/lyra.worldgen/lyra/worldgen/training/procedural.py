"""Textured rooms in closed form and films of smooth walks through them: training data without a download.

A room is a box seen from inside with solid boxes in it. Every surface is plain or has a pattern of two colours with a
period that survives small pictures. Colours come from a palette, so that there is something to know about rooms: a
network can tell a wall that is off its colour. Depth, poses and intrinsics are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import ConfigError
from ..core.frames import camera_pose, invert_rigid, rotate_vectors
from ..core.mesh import TriMesh, concatenate_meshes
from ..core.raycast import Raycaster
from ..generation.warp import reference_K
from .clips import Caption, Clip

_CORNERS = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
# Counter-clockwise seen from outside the unit cube: low and high x, y, z.
_QUADS = np.array([[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]])
FREE_M = 0.45
"""Least distance of the walk from walls and boxes [m]."""
PALETTE = np.array(
    [[0.85, 0.3, 0.25], [0.95, 0.75, 0.25], [0.3, 0.6, 0.3], [0.2, 0.4, 0.75], [0.55, 0.35, 0.65], [0.93, 0.9, 0.85],
     [0.5, 0.5, 0.5], [0.15, 0.17, 0.22]]
)  # fmt: skip
FREE_COLOURS = (0.1, 0.95)
"""Range of each channel where colours are not from the palette."""
PLAIN_SHARE = 0.5
SAMPLES = 2
"""Colour samples per pixel and direction."""
CAPTION = "A quiet room with patterned walls and plain boxes; the camera moves slowly and nothing else does."


@dataclass(frozen=True, kw_only=True)
class FilmSpec:
    """What kind of films are made."""

    frames: int = 97
    width_px: int = 48
    height_px: int = 32
    hfov_deg: float = 75.0
    speed_m: float = 0.02
    """typical way between two frames [m]"""
    turn_deg: float = 1.0
    """typical turn between two frames [degrees]"""
    loop_frames: int = 0
    """frames after which the camera is where it began, to the last bit, again and again; 0: it wanders on"""
    colours: int = len(PALETTE)
    """how many colours of the palette surfaces may have; 0: any colour"""
    plain_share: float = PLAIN_SHARE
    """share of surfaces without a pattern"""

    def __post_init__(self) -> None:
        ranges = {
            "frames": (1, 100_000), "width_px": (8, 4096), "height_px": (8, 4096), "hfov_deg": (20, 140),
            "speed_m": (0, 1), "turn_deg": (0, 30), "loop_frames": (0, 100_000),
            "colours": (0, len(PALETTE)), "plain_share": (0, 1),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; expected {low} to {high}")
        if self.colours == 1:
            raise ConfigError("colours is 1; expected 2 or more, or 0 for any colour")


@dataclass(frozen=True, kw_only=True)
class _Surface:
    """The look of one side of a box."""

    colours: np.ndarray
    """[2, 3] in 0..1, equal on a plain surface."""
    kind: int
    """0 stripes, 1 checks, 2 waves."""
    period_m: float
    angle_rad: float
    phase: np.ndarray
    """[2]."""


class ProceduralRoom:
    """One room; everything follows from the seed, and the looks from how many colours and patterns there are."""

    def __init__(self, seed: int, *, colours: int = len(PALETTE), plain_share: float = PLAIN_SHARE) -> None:
        rng = np.random.default_rng([seed, 0x700D])
        size = np.array([rng.uniform(4.5, 7.5), rng.uniform(4.0, 6.5), rng.uniform(2.4, 3.2)])
        self.low, self.high = np.array([-size[0] / 2, -size[1] / 2, 0.0]), np.array([size[0] / 2, size[1] / 2, size[2]])
        boxes = []
        for _ in range(int(rng.integers(2, 6))):
            extent = np.array([rng.uniform(0.4, 1.2), rng.uniform(0.4, 1.2), rng.uniform(0.4, 1.8)])
            side = int(rng.integers(4))
            place = rng.uniform(self.low[:2], self.high[:2] - extent[:2])
            # Furniture stands along the walls, so that the middle stays free.
            place[side % 2] = (self.low[:2] if side < 2 else self.high[:2] - extent[:2])[side % 2]
            boxes.append((np.array([*place, 0.0]), np.array([*(place + extent[:2]), extent[2]])))
        self.boxes = boxes
        meshes = [_box(self.low, self.high, inside=True), *(_box(a, b, inside=False) for a, b in boxes)]
        self.raycaster = Raycaster(concatenate_meshes(meshes))
        self._surfaces = [_random_surface(rng, colours, plain_share) for _ in range(6 * len(meshes))]

    def render(self, camera: PinholeCamera, T_world_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours [H, W, 3] uint8, averaged over samples in each pixel, and exact depth of pixel centres [H, W]."""
        h, w = camera.height_px, camera.width_px
        depth = self.raycaster.render(camera, T_world_cam).depth_z_m.astype(np.float32)
        fine = camera.resized(w * SAMPLES, h * SAMPLES)
        rays = rotate_vectors(T_world_cam, fine.rays_cam()).reshape(-1, 3)
        t, face, _ = self.raycaster.cast(T_world_cam[:3, 3], rays)
        points = T_world_cam[:3, 3] + t[:, None] * rays
        rgb = self._colour(points, face).reshape(h, SAMPLES, w, SAMPLES, 3).mean((1, 3))
        return np.clip(255 * rgb + 0.5, 0, 255).astype(np.uint8), depth

    def clear_of(self, xy: np.ndarray) -> float:
        """Distance of a place [2] from the nearest wall or box [m], negative inside of one."""
        walls = float(min((xy - self.low[:2]).min(), (self.high[:2] - xy).min()))
        gaps = []
        for a, b in self.boxes:
            outside = np.maximum(a[:2] - xy, xy - b[:2])
            gaps.append(float(np.linalg.norm(np.maximum(outside, 0)) if (outside > 0).any() else outside.max()))
        return min([walls, *gaps])

    def walk(self, seed: int, spec: FilmSpec) -> np.ndarray:
        """Smooth poses [T, 4, 4] of a camera that wanders and looks about, clear of everything."""
        rng = np.random.default_rng([seed, 0x3A1F])
        places = rng.uniform(self.low[:2] + FREE_M, self.high[:2] - FREE_M, (256, 2))
        start = max(places, key=self.clear_of)
        room = max(self.clear_of(start) - FREE_M, 0.05)
        time = np.arange(spec.frames)
        # Sums of three slow waves; amplitudes are bounded by the free circle around the start.
        way = np.stack([_waves(rng, time, spec.loop_frames) for _ in range(3)], -1)
        step = np.abs(np.diff(way[:, :2], axis=0)).mean() if spec.frames > 1 else 1.0
        reach = min(spec.speed_m / max(step, 1e-9), 0.7 * room / max(np.abs(way[:, :2]).max(), 1e-9))
        turn = _waves(rng, time, spec.loop_frames)
        rate = np.abs(np.diff(turn)).mean() if spec.frames > 1 else 1.0
        heading = rng.uniform(0, 2 * np.pi) + np.radians(spec.turn_deg) / max(rate, 1e-9) * turn
        height = rng.uniform(1.1, 1.7)
        return np.stack(
            [
                camera_pose(
                    np.array([*(start + reach * p[:2]), height + 0.1 * p[2]]),
                    heading_rad=float(a),
                    pitch_rad=-0.08 + 0.05 * float(p[2]),
                )
                for p, a in zip(way, heading, strict=True)
            ]
        )

    def _colour(self, points: np.ndarray, face: np.ndarray) -> np.ndarray:
        """[N, 3] in 0..1 at points on faces."""
        rgb = np.full((len(points), 3), 0.5)
        side = face // 2
        for k in np.unique(side[face >= 0]):
            here = side == k
            axis = (k % 6) // 2
            plane = np.delete(points[here], axis, axis=1)
            rgb[here] = _pattern(self._surfaces[k], plane)
        return rgb


def procedural_clip(seed: int, spec: FilmSpec) -> Clip:
    """A film through a room; equal seeds give equal films.

    Raises:
        DependencyError: embreex is missing.
    """
    room = ProceduralRoom(seed, colours=spec.colours, plain_share=spec.plain_share)
    camera = PinholeCamera.from_hfov(spec.width_px, spec.height_px, np.radians(spec.hfov_deg))
    Ts = room.walk(seed, spec)
    around = spec.loop_frames or len(Ts)
    seen = [room.render(camera, T) for T in Ts[:around]]  # a loop shows the same again
    pictures, depths = zip(*(seen[i % around] for i in range(len(Ts))), strict=True)
    return Clip(
        video_id=f"room-{seed:05d}",
        rgb_u8=np.stack(pictures),
        depth_z=np.stack(depths),
        w2c=np.stack([invert_rigid(T) for T in Ts]).astype(np.float32),
        K_px=reference_K(camera).astype(np.float32),
        captions={0: Caption(text=CAPTION)},
    )


def _box(low: np.ndarray, high: np.ndarray, *, inside: bool) -> TriMesh:
    quads = _QUADS[:, ::-1] if inside else _QUADS
    faces = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3).astype(np.int32)
    return TriMesh(vertices=low + _CORNERS * (high - low), faces=faces)


def _random_surface(rng: np.random.Generator, colours: int, plain_share: float) -> _Surface:
    pair = PALETTE[rng.choice(colours, 2, replace=False)] if colours else rng.uniform(*FREE_COLOURS, (2, 3))
    return _Surface(
        colours=pair[[0, 0 if rng.random() < plain_share else 1]],
        kind=int(rng.integers(3)),
        period_m=float(rng.uniform(1.2, 3.0)),
        angle_rad=float(rng.uniform(0, np.pi)),
        phase=rng.uniform(0, 1, 2),
    )


def _pattern(surface: _Surface, plane: np.ndarray) -> np.ndarray:
    c, s = np.cos(surface.angle_rad), np.sin(surface.angle_rad)
    u, v = (plane @ np.array([[c, s], [-s, c]]) / surface.period_m + surface.phase).T
    if surface.kind == 0:
        mix = 0.5 + 0.5 * np.tanh(4 * np.sin(2 * np.pi * u))
    elif surface.kind == 1:
        mix = 0.5 + 0.5 * np.tanh(4 * np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v))
    else:
        mix = 0.5 + 0.25 * (np.sin(2 * np.pi * u) + np.sin(2 * np.pi * v))
    a, b = surface.colours
    return a + mix[:, None] * (b - a)


def _waves(rng: np.random.Generator, time: np.ndarray, loop: int) -> np.ndarray:
    """[T] a smooth wander of about unit size that starts at 0, and comes back there after `loop` frames."""
    total = np.zeros(len(time))
    if loop:
        time, periods = time % loop, loop / np.array([1, 2])
    else:
        periods = rng.uniform((240, 120, 60), (480, 240, 120))
    for period in periods:
        phase = rng.uniform(0, 2 * np.pi)
        total += period / 240 * (np.sin(2 * np.pi * time / period + phase) - np.sin(phase))
    return total
