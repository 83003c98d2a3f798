"""Rooms, corridors and halls of known truth: seeded, with furniture, doorways and pillars.

Everything is an upright prism with a convex footprint inside a box of walls, so meshes, distances and pictures are
exact. A scene is expressed in the world frame of its photo: the camera stands above the origin, heads along +X, and the
building is turned under it. Colours are functions of the point, so every view agrees on them.

Seeds 0 to 35 are for reports; whoever develops on scenes takes seeds from 1000.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, rotate_vectors
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_PHOTO, Photo, RgbdView, WorldViews

KINDS = ("room", "corridor", "hall")
REPORT_SEEDS = range(36)
PHOTO_PX = (1024, 768)
DOOR_HEIGHT_M = 2.1
WALL_M = 0.15
"""Thickness of inner walls."""


@dataclass(frozen=True, kw_only=True)
class Prism:
    """An upright solid."""

    footprint_xy_m: np.ndarray
    """[K, 2] world, convex, counter-clockwise seen from above."""
    bottom_m: float
    top_m: float
    label: Label


@dataclass(frozen=True, kw_only=True)
class KnownScene:
    """One building with the pose of its photo."""

    seed: int
    kind: str
    outline_xy_m: np.ndarray
    """[4, 2] world corners of the outer walls' inner faces, counter-clockwise."""
    ceiling_m: float
    prisms: tuple[Prism, ...]
    camera: PinholeCamera
    """Of the photo."""
    T_world_cam: np.ndarray
    """[4, 4] pose of the photo: (0, 0, camera height), heading 0."""
    look: dict[str, np.ndarray] = field(repr=False)
    """Colours and patterns."""

    @property
    def camera_height_m(self) -> float:
        return float(self.T_world_cam[2, 3])

    def clearance_m(self, xy_m: np.ndarray, low_m: float = 0.05, high_m: float = 0.6) -> np.ndarray:
        """[...] distance of points [..., 2] to the nearest wall or solid between two heights; 0 inside and outside."""
        xy = np.asarray(xy_m, float)
        flat = xy.reshape(-1, 2)
        best = -_outside_m(self.outline_xy_m, flat, inward=True)
        for prism in self.prisms:
            if prism.bottom_m < high_m and prism.top_m > low_m:
                best = np.minimum(best, _outside_m(prism.footprint_xy_m, flat))
        return np.maximum(best, 0.0).reshape(xy.shape[:-1])

    @cached_property
    def truth(self) -> TriMesh:
        """Floor, walls, ceiling and all solids without their undersides on the floor; faces into free space."""
        ring, top = self.outline_xy_m, self.ceiling_m
        low, high = np.c_[ring, np.zeros(4)], np.c_[ring, np.full(4, top)]
        nxt = np.roll(np.arange(4), -1)
        quads = [np.stack([low[nxt], low, high, high[nxt]], 1), low[None], high[None, ::-1]]
        labels = [np.full(4, Label.WALL), [Label.FLOOR], [Label.CEILING]]
        triangles = [np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]]) for q in quads]
        labels = [np.tile(part, 2) for part in labels]
        for prism in self.prisms:
            part = _prism_triangles(prism, with_bottom=prism.bottom_m > 0, with_top=prism.top_m < top)
            triangles.append(part)
            labels.append(np.full(len(part), prism.label))
        corners = np.concatenate(triangles)
        return TriMesh(
            vertices=corners.reshape(-1, 3),
            faces=np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3),
            face_labels=np.concatenate(labels).astype(np.uint8),
        ).validate()

    @cached_property
    def _caster(self) -> Raycaster:
        return Raycaster(self.truth)

    def render(
        self,
        camera: PinholeCamera | None = None,
        T_world_cam: np.ndarray | None = None,
        *,
        view_id: int = 0,
        samples: int = 1,
    ) -> RgbdView:
        """Exact depth and labels at pixel centres; colour is the mean of `samples`² rays per pixel."""
        camera = camera or self.camera
        T = self.T_world_cam if T_world_cam is None else T_world_cam
        h, w = camera.height_px, camera.width_px
        image = self._caster.render(camera, T)
        fine = camera.resized(w * samples, h * samples)
        rays_world = rotate_vectors(T, fine.rays_cam()).reshape(-1, 3)
        t, face, _ = self._caster.cast(T[:3, 3], rays_world)
        points = T[:3, 3] + np.where(np.isfinite(t), t, 1.0)[:, None] * rays_world
        # In pieces that stay in the processor's cache.
        pieces = np.array_split(np.arange(len(t)), -(-len(t) // 50_000))
        rgb = np.concatenate([self.colour(points[i], face[i]) for i in pieces])
        rgb = rgb.reshape(h, samples, w, samples, 3).mean((1, 3))
        return RgbdView(
            view_id=view_id,
            camera=camera,
            T_world_cam=T,
            rgb_u8=np.clip(rgb + 0.5, 0, 255).astype(np.uint8),
            depth_z_m=np.where(image.hit, image.depth_z_m, 1.0).astype(np.float32),
            valid=image.hit,
            source=np.full((h, w), SOURCE_PHOTO if view_id == 0 else SOURCE_PAINTED, np.uint8),
            labels=image.labels(self.truth),
        )

    def colour(self, points_world: np.ndarray, face: np.ndarray) -> np.ndarray:
        """[N, 3] float64 in 0..255 of surface points: paint or pattern, lamps, and darkness where surfaces meet."""
        look, label = self.look, self.truth.face_labels[np.maximum(face, 0)]
        normal = self._normals[np.maximum(face, 0)]
        back = self._to_building(points_world)
        level = np.abs(normal[:, 2]) > 0.5
        # A vertical surface's own coordinate runs along it; which family it belongs to does not matter to a pattern.
        along = np.where(np.abs(normal @ _yawed(look["yaw"])[:, 0]) > 0.7, back[:, 1], back[:, 0])
        u, v = np.where(level, back[:, 0], along), np.where(level, back[:, 1], back[:, 2])
        solid = self._owner[np.maximum(face, 0)]
        rgb = look["base"][solid]
        kind, size, depth = look["pattern"][solid], look["period"][solid], look["depth"][solid]
        cell = np.floor(u / size) * 7 + np.floor(v / size) * 13 + solid
        joint = (np.abs(u / size % 1 - 0.5) > 0.48) | (np.abs(v / size % 1 - 0.5) > 0.48)
        plank = np.abs(v / (0.3 * size) % 1 - 0.5) > 0.46
        grain = np.sin(9.1 * u + 2.3 * np.sin(5.7 * v)) * np.sin(17.3 * v + 1.9 * np.sin(3.1 * u))
        shade = np.ones(len(u))
        shade = np.where(kind == 1, np.where(joint, 1 - depth, 1 - 0.12 * (cell % 5) / 5), shade)
        shade = np.where(
            kind == 2, np.where(plank, 1 - depth, 1 + 0.06 * np.sin(3 * np.floor(v / (0.3 * size)))), shade
        )
        shade = np.where(kind == 3, 1 + 0.5 * depth * np.sign(np.sin(2 * np.pi * u / (0.4 * size))), shade)
        rgb = rgb * (shade * (1 + 0.03 * grain))[:, None]
        skirting = (label == Label.WALL) & (back[:, 2] < 0.08) & ~level
        rgb = np.where(skirting[:, None], look["skirting"], rgb)
        light = np.full(len(u), 0.55)
        for lamp in look["lamps"]:
            to_lamp = lamp - points_world
            square = (to_lamp**2).sum(1)
            facing = np.maximum((to_lamp * normal).sum(1) / np.sqrt(square + 1e-9), 0.0)
            light += (0.25 + 0.75 * facing) / (1.0 + square / look["reach"] ** 2)
        floor = label == Label.FLOOR
        if floor.any():
            near = np.clip(self._floor_clearance(points_world[floor, :2]) / 0.4, 0, 1)
            light[floor] *= 0.72 + 0.28 * near
        foot = (label != Label.FLOOR) & ~level
        light[foot] *= 0.85 + 0.15 * np.clip(points_world[foot, 2] / 0.3, 0, 1)
        return np.clip(rgb * light[:, None], 0, 255)

    def photo(self) -> Photo:
        """The photo as a camera would take it: two rays per pixel and direction, and the sensor's noise."""
        rgb = self.render(samples=2).rgb_u8.astype(float)
        noise = np.random.default_rng([self.seed, 0x9015E]).normal(0.0, 1.5, rgb.shape)
        return Photo(
            rgb_u8=np.clip(rgb + noise + 0.5, 0, 255).astype(np.uint8),
            name=f"{self.kind}-{self.seed}.png",
            sha256=f"{self.seed:064x}",
            original_size_px=PHOTO_PX,
        )

    def poses(self, count: int, *, seed: int, clearance_m: float = 0.45) -> np.ndarray:
        """[count, 4, 4] cameras in free space, far from one another, eyes 0.8 to 1.7 m high, looking any way."""
        rng = np.random.default_rng([self.seed, seed, 0x905E])
        low, high = self.outline_xy_m.min(0), self.outline_xy_m.max(0)
        candidates = rng.uniform(low, high, (6000, 2))
        candidates = candidates[self.clearance_m(candidates, 0.05, 1.8) > clearance_m]
        candidates = candidates[self._reachable(candidates)]
        spots = max(1, count // 4)
        chosen, distance = [0], np.linalg.norm(candidates - candidates[0], axis=1)
        while len(chosen) < min(spots, len(candidates)):
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, np.linalg.norm(candidates - candidates[chosen[-1]], axis=1))
        poses = []
        for i in range(count):
            xy = candidates[chosen[i % len(chosen)]]
            heading = 2 * np.pi * (i // len(chosen)) / max(1, -(-count // len(chosen))) + rng.uniform(-0.5, 0.5)
            eye = np.array([*xy, rng.uniform(0.8, min(1.7, self.ceiling_m - 0.5))])
            poses.append(camera_pose(eye, heading_rad=heading, pitch_rad=np.radians(rng.uniform(-22, 4))))
        return np.stack(poses)

    def lift_views(self, count: int = 48, *, width_px: int = 320, height_px: int = 240) -> WorldViews:
        """The photo's pose and exact RGB-D views all over the scene, without a proxy."""
        camera = PinholeCamera.from_hfov(width_px, height_px, np.radians(80))
        poses = [self.T_world_cam, *self.poses(count - 1, seed=1)]
        views = [self.render(camera, T, view_id=i) for i, T in enumerate(poses)]
        return WorldViews(views=views, proxy=None, ceiling_m=self.ceiling_m, Ts_world_path=np.stack(poses))

    def held_out_views(self, count: int = 20, *, width_px: int = 320, height_px: int = 240) -> list[RgbdView]:
        """Exact views from poses that `lift_views` does not have."""
        camera = PinholeCamera.from_hfov(width_px, height_px, np.radians(80))
        return [self.render(camera, T, view_id=i) for i, T in enumerate(self.poses(count, seed=2))]

    @cached_property
    def _normals(self) -> np.ndarray:
        return self.truth.face_normals()

    @cached_property
    def _owner(self) -> np.ndarray:
        """[F] which colour each face of the truth has: 0 walls, 1 floor, 2 ceiling, 3 + i solid i."""
        owner = [0] * 8 + [1] * 2 + [2] * 2
        for i, prism in enumerate(self.prisms):
            faces = len(_prism_triangles(prism, with_bottom=prism.bottom_m > 0, with_top=prism.top_m < self.ceiling_m))
            owner += [0 if prism.label == Label.WALL else 3 + i] * faces
        return np.array(owner)

    @cached_property
    def _clearance_grid(self) -> tuple[np.ndarray, np.ndarray]:
        low = self.outline_xy_m.min(0) - 0.1
        count = np.ceil((self.outline_xy_m.max(0) + 0.1 - low) / 0.05).astype(int) + 1
        x, y = np.meshgrid(*(low[k] + 0.05 * np.arange(count[k]) for k in (0, 1)), indexing="ij")
        return low, self.clearance_m(np.stack([x, y], -1), 0.0, 0.3)

    def _floor_clearance(self, xy_m: np.ndarray) -> np.ndarray:
        low, grid = self._clearance_grid
        at = np.clip((xy_m - low) / 0.05, 0, np.array(grid.shape) - 1.001)
        i, f = at.astype(int), at % 1
        a, b = grid[i[:, 0], i[:, 1]], grid[i[:, 0] + 1, i[:, 1]]
        c, d = grid[i[:, 0], i[:, 1] + 1], grid[i[:, 0] + 1, i[:, 1] + 1]
        return (a * (1 - f[:, 0]) + b * f[:, 0]) * (1 - f[:, 1]) + (c * (1 - f[:, 0]) + d * f[:, 0]) * f[:, 1]

    def _reachable(self, xy_m: np.ndarray) -> np.ndarray:
        """[N] bool: a robot of 0.25 m can get there from the camera's foot."""
        from scipy import ndimage

        low, grid = self._clearance_grid
        parts, _ = ndimage.label(grid > 0.25)
        at = np.clip(np.round((xy_m - low) / 0.05).astype(int), 0, np.array(grid.shape) - 1)
        home = parts[tuple(np.round(-low / 0.05).astype(int))]
        return parts[at[:, 0], at[:, 1]] == home

    def _to_building(self, points_world: np.ndarray) -> np.ndarray:
        return points_world @ _yawed(self.look["yaw"]) + self.look["corner"]


def known_scene(seed: int, *, kind: str | None = None) -> KnownScene:
    """The scene of a seed; kinds take turns. The camera's height follows people's habit, 1.5 m give or take 12 %."""
    kind = KINDS[seed % len(KINDS)] if kind is None else kind
    rng = np.random.default_rng([seed, 0xC0DE])
    height = float(1.5 * np.exp(rng.normal(0.0, 0.12)))
    while True:
        scene = _draw(seed, kind, height, rng)
        if scene is not None:
            return scene


def _draw(seed: int, kind: str, height: float, rng: np.random.Generator) -> KnownScene | None:
    """One try; None where the camera would not see enough floor or stand too close to something."""
    length, width, ceiling = {
        "room": (rng.uniform(4.5, 8.0), rng.uniform(3.5, 7.0), rng.uniform(2.4, 3.2)),
        "corridor": (rng.uniform(10, 20), rng.uniform(4.5, 7.0), rng.uniform(2.4, 3.2)),
        "hall": (rng.uniform(12, 22), rng.uniform(9, 16), rng.uniform(3.4, 6.0)),
    }[kind]
    ceiling = max(ceiling, height + 0.7)
    solids: list[tuple[np.ndarray, float, float, Label]] = []
    lane = (0.0, width)
    if kind == "corridor":
        lane = (0.0, float(rng.uniform(1.8, 2.8)))
        solids += _wall_with_doors(rng, 0.0, length, lane[1], ceiling, doors=int(rng.integers(1, 4)))
    elif kind == "room" and rng.random() < 0.5:
        # A second room behind a doorway.
        cut = length * rng.uniform(0.6, 0.72)
        walls = _wall_with_doors(rng, 0.0, width, cut, ceiling, doors=1)
        solids += [(xy[:, ::-1][::-1], low, high, label) for xy, low, high, label in walls]
    if kind == "hall":
        radius, corners = rng.uniform(0.18, 0.4), int(rng.choice([4, 12]))
        rows, columns = int(rng.integers(1, 3)), int(rng.integers(2, 5))
        for i in range(columns):
            for j in range(rows):
                at = np.array([length * (i + 1) / (columns + 1), width * (j + 1) / (rows + 1)])
                solids.append((_polygon(at, radius, corners), 0.0, ceiling, Label.WALL))
    wanted = {"room": rng.integers(3, 8), "corridor": rng.integers(2, 7), "hall": rng.integers(4, 10)}[kind]
    for _ in range(60):
        if wanted <= 0:
            break
        piece = _furniture(rng, length, width)
        if all(_apart(piece[0], other[0]) for other in solids):
            solids.append(piece)
            wanted -= 1
    eye = np.array([rng.uniform(0.5, 1.2), rng.uniform(lane[0] + 0.7, lane[1] - 0.7) if lane[1] > 1.4 else 0.9])
    if rng.random() < 0.5 and kind != "corridor":
        eye[0] = rng.uniform(0.08, 0.3) * length
    yaw = float(np.radians(rng.uniform(-22, 22) if kind != "corridor" else rng.uniform(-8, 8)))
    R = _yawed(yaw)[:2, :2]
    ring = np.array([[0, 0], [length, 0], [length, width], [0, width]])
    labels = [label for *_, label in solids]
    scene = KnownScene(
        seed=seed,
        kind=kind,
        outline_xy_m=(ring - eye) @ R.T,
        ceiling_m=float(ceiling),
        prisms=tuple(
            Prism(footprint_xy_m=(xy - eye) @ R.T, bottom_m=float(low), top_m=float(high), label=label)
            for xy, low, high, label in solids
        ),
        camera=PinholeCamera.from_hfov(*PHOTO_PX, np.radians(float(np.clip(rng.normal(68, 8), 52, 88)))),
        T_world_cam=camera_pose(
            np.array([0.0, 0.0, height]),
            pitch_rad=np.radians(float(np.clip(rng.normal(-6, 4), -14, 3))),
            roll_rad=np.radians(float(rng.normal(0, 0.8))),
        ),
        look=_look(rng, labels, yaw, eye, length, width, ceiling, R),
    )
    if scene.clearance_m(np.zeros(2), 0.05, 2.0) < 0.4:
        return None
    small = scene.render(scene.camera.resized(64, 48))
    floor_share = float((small.labels == Label.FLOOR).mean())
    return scene if floor_share > 0.14 and float(np.median(small.depth_z_m)) > 2.2 else None


def _look(rng, labels, yaw: float, eye, length: float, width: float, ceiling: float, R) -> dict[str, np.ndarray]:
    """Colours: muted walls, a patterned floor, a bright ceiling, stronger furniture."""
    n = 3 + len(labels)
    base = np.empty((n, 3))
    tint = rng.normal(0, 14, (n, 3))
    base[0] = rng.uniform(135, 205) + tint[0]
    base[1] = rng.uniform(70, 170) * np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.55, 1.0)])
    base[2] = rng.uniform(195, 225)
    base[3:] = rng.uniform(40, 190, (len(labels), 1)) + rng.normal(0, 30, (len(labels), 3))
    pattern = rng.choice([0, 1, 2, 3], n, p=[0.4, 0.15, 0.3, 0.15])
    pattern[0] = rng.choice([0, 0, 1, 3])
    pattern[1] = rng.choice([1, 1, 2, 0])
    pattern[2] = rng.choice([0, 0, 1])
    columns = max(1, round(length / 5))
    lamps = np.array([[length * (i + 0.5) / columns, width * 0.5, ceiling - 0.25] for i in range(columns)])
    lamps[:, :2] = (lamps[:, :2] - eye) @ R.T
    return {
        "base": np.clip(base, 15, 235),
        "pattern": pattern,
        "period": rng.uniform(0.35, 0.8, n),
        "depth": rng.uniform(0.08, 0.35, n),
        "skirting": np.clip(base[0] * rng.uniform(0.4, 1.1), 15, 235),
        "lamps": lamps,
        "reach": np.array(rng.uniform(2.0, 3.5)),
        "yaw": np.array(yaw),
        "corner": np.array([eye[0], eye[1], 0.0]),
    }


def _furniture(rng: np.random.Generator, length: float, width: float):
    """A cabinet against a wall, or a table, crate or round bin anywhere."""
    kind = rng.choice(["cabinet", "block", "low", "bin"])
    if kind == "cabinet":
        size = np.array([rng.uniform(0.8, 2.0), rng.uniform(0.35, 0.6)])
        top = rng.uniform(0.8, 2.1)
        wall = int(rng.integers(0, 3))
        if wall == 0:  # the far end wall
            size = size[::-1]
            centre = np.array([length - size[0] / 2, rng.uniform(size[1] / 2, width - size[1] / 2)])
        else:
            y = size[1] / 2 if wall == 1 else width - size[1] / 2
            centre = np.array([rng.uniform(size[0] / 2, length - size[0] / 2), y])
        return _rectangle(centre, size, 0.0), 0.0, float(top), Label.OBJECT
    centre = rng.uniform([1.5, 0.6], [length - 0.6, width - 0.6])
    if kind == "bin":
        return _polygon(centre, rng.uniform(0.2, 0.35), 12), 0.0, float(rng.uniform(0.5, 1.0)), Label.OBJECT
    size = rng.uniform(0.5, 1.5, 2)
    turn = 0.0 if rng.random() < 0.6 else float(rng.uniform(0, np.pi / 2))
    top = rng.uniform(0.3, 0.5) if kind == "low" else rng.uniform(0.6, 1.3)
    return _rectangle(centre, size, turn), 0.0, float(top), Label.OBJECT


def _wall_with_doors(rng: np.random.Generator, start: float, end: float, y: float, ceiling: float, *, doors: int):
    """An inner wall along x at `y` with doorways 0.9 to 1.2 m wide and what is above them."""
    pieces, at = [], start
    room = (end - start) / doors
    for i in range(doors):
        door = float(rng.uniform(0.9, 1.2))
        left = float(rng.uniform(start + i * room + 0.4, start + (i + 1) * room - 0.4 - door))
        pieces.append((at, left, 0.0))
        pieces.append((left, left + door, DOOR_HEIGHT_M))
        at = left + door
    pieces.append((at, end, 0.0))
    return [
        (np.array([[a, y], [b, y], [b, y + WALL_M], [a, y + WALL_M]]), low, ceiling, Label.WALL)
        for a, b, low in pieces
        if low < ceiling
    ]


def _rectangle(centre: np.ndarray, size: np.ndarray, turn_rad: float) -> np.ndarray:
    corners = 0.5 * size * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return centre + corners @ _yawed(turn_rad)[:2, :2].T


def _polygon(centre: np.ndarray, radius_m: float, corners: int) -> np.ndarray:
    angle = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    return centre + radius_m * np.stack([np.cos(angle), np.sin(angle)], -1)


def _yawed(yaw_rad: float | np.ndarray) -> np.ndarray:
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _apart(a: np.ndarray, b: np.ndarray, gap_m: float = 0.12) -> bool:
    """Whether the bounding boxes of two footprints keep a gap that can be seen."""
    return bool((a.max(0) + gap_m < b.min(0)).any() or (b.max(0) + gap_m < a.min(0)).any())


def _outside_m(ring: np.ndarray, points: np.ndarray, *, inward: bool = False) -> np.ndarray:
    """Distance [N] of points [N, 2] to a convex polygon, negative inside; `inward`: exact inside instead of outside."""
    a, b = ring, np.roll(ring, -1, axis=0)
    edge = b - a
    normal = np.stack([edge[:, 1], -edge[:, 0]], -1) / np.linalg.norm(edge, axis=1)[:, None]
    signed = np.einsum("nk,ek->ne", points, normal) - (a * normal).sum(1)
    depth = signed.max(1)
    if inward:
        return depth
    t = np.einsum("nek,ek->ne", points[:, None] - a, edge) / (edge**2).sum(1)
    nearest = a + np.clip(t, 0, 1)[..., None] * edge
    gap = np.linalg.norm(points[:, None] - nearest, axis=2).min(1)
    return np.where(depth > 0, gap, depth)


def _prism_triangles(prism: Prism, *, with_bottom: bool, with_top: bool) -> np.ndarray:
    """[F, 3, 3] outward."""
    ring = prism.footprint_xy_m
    n = len(ring)
    low, high = np.c_[ring, np.full(n, prism.bottom_m)], np.c_[ring, np.full(n, prism.top_m)]
    nxt = np.roll(np.arange(n), -1)
    parts = [np.stack([low, low[nxt], high[nxt]], 1), np.stack([low, high[nxt], high], 1)]
    fan = np.stack([np.zeros(n - 2, int), np.arange(1, n - 1), np.arange(2, n)], 1)
    if with_top:
        parts.append(high[fan])
    if with_bottom:
        parts.append(low[fan[:, ::-1]])
    return np.concatenate(parts)
