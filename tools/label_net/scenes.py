"""Seeded procedural scenes with exact labels and depth: rooms, corridors, halls, warehouses, streets, open ground.

One integer makes one picture. The scenes are deliberately nastier than photos: random yaw, rolled cameras, clutter,
glossy floors, walls in the face. Low furniture near the camera and round basins are in because photos have them.
"""

from __future__ import annotations

import colorsys
import itertools
from dataclasses import dataclass, field

import numpy as np
from raycast import (
    BOX,
    BRICK,
    CEILING,
    CORRUGATED,
    CYLINDER,
    ELLIPSOID,
    ENV_WIDTH,
    FACADE,
    FLOOR,
    LIGHT_WIDTH,
    MATERIAL_WIDTH,
    NOISE,
    OBJECT,
    PLAIN,
    PLANK,
    POSTER,
    PRIM_WIDTH,
    SHELF,
    STONES,
    STRIPE,
    TILE,
    WAINSCOT,
    WALL,
    render,
)

KINDS = ("room", "corridor", "hall", "warehouse", "street", "open")
_KIND_SHARE = (0.27, 0.14, 0.15, 0.15, 0.16, 0.13)
MAX_PRIMS = 220


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One rendered picture with its truth."""

    rgb_u8: np.ndarray
    """[H, W, 3]."""
    depth_z_m: np.ndarray
    """[H, W] float32, 0 for sky."""
    labels: np.ndarray
    """[H, W] uint8 in the order of `label_net.CLASSES`."""
    f_px: float
    pitch_rad: float
    roll_rad: float
    height_m: float
    kind: str


@dataclass
class Scene:
    """Primitives, materials and light under construction; the camera stands above the origin and looks along +y."""

    rng: np.random.Generator
    prims: list[list[float]] = field(default_factory=list)
    materials: list[np.ndarray] = field(default_factory=list)
    lights: list[list[float]] = field(default_factory=list)
    ceiling_m: float = 0.0
    floor_material: int = 0
    ceiling_material: int = 0
    ambient: np.ndarray = field(default_factory=lambda: np.full(3, 0.5))
    ambient_down: np.ndarray = field(default_factory=lambda: np.full(3, 0.3))
    sun_direction: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))
    sun: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def colour(self, value: float | None = None, saturation: float | None = None) -> np.ndarray:
        r = self.rng
        hue = r.random() if r.random() < 0.5 else r.normal(0.09, 0.05) % 1.0
        s = r.beta(1, 3.5) if saturation is None else saturation
        v = r.beta(2, 1.6) if value is None else value
        return np.array(colorsys.hsv_to_rgb(hue, min(s, 1.0), float(np.clip(v, 0.02, 1.0)))) ** 1.8

    def material(self, kind: int, *, a=None, b=None, c=None, **options: float) -> int:
        """Index of a new material; colours that are not given derive from the first."""
        r = self.rng
        a = self.colour() if a is None else a
        b = np.clip(a * r.uniform(0.5, 1.5) + r.normal(0, 0.03, 3), 0.01, 1.0) if b is None else b
        c = a * r.uniform(0.15, 0.9) if c is None else c
        grain = r.choice([0.08, 0.2, 0.45]) * r.uniform(0.3, 1.3)
        row = np.zeros(MATERIAL_WIDTH)
        row[0], row[1:4], row[4:7], row[7:10] = kind, a, b, c
        row[10], row[11] = options.get("su", 1.0), options.get("sv", options.get("su", 1.0))
        row[12], row[13] = options.get("turn", 0.0), options.get("grain", grain)
        row[14], row[15] = 10 ** r.uniform(-0.3, 1.3), options.get("gloss", 0.0)
        row[16], row[17] = options.get("glow", 0.0), r.integers(1, 1 << 20)
        row[18], row[19] = options.get("p1", 0.5), options.get("p2", 0.5)
        self.materials.append(row)
        return len(self.materials) - 1

    def floor(self, *, outdoors: bool = False) -> int:
        r = self.rng
        gloss = 0.0 if outdoors or r.random() < 0.45 else r.uniform(0.1, 0.7)
        turn = r.choice([0.0, np.pi / 2, r.uniform(0, np.pi)], p=[0.4, 0.4, 0.2])
        share = [0.1, 0.1, 0.05, 0.45, 0.18, 0.12] if outdoors else [0.22, 0.28, 0.2, 0.2, 0.05, 0.05]
        kind = int(r.choice([PLAIN, TILE, PLANK, NOISE, STONES, BRICK], p=share))
        if kind == TILE:
            size, two = r.choice([0.2, 0.3, 0.45, 0.6, 1.0]), r.random() < 0.25
            other = self.colour() if two or r.random() < 0.2 else None
            joint = 1.0 if two else r.choice([0.0, 0.3, 1.0])
            return self.material(
                TILE, b=other, su=size, sv=size * r.choice([1, 1, 2]), turn=turn, gloss=gloss, p1=float(two), p2=joint
            )
        if kind == PLANK:
            width, a = r.uniform(0.07, 0.22), self.colour(saturation=r.uniform(0.2, 0.6))
            return self.material(
                PLANK, a=a, b=a * r.uniform(0.5, 0.9), su=1.6 * width, sv=width, turn=turn, gloss=gloss
            )
        if kind == NOISE:
            size = 10 ** r.uniform(-1.3, 0.5)
            return self.material(
                NOISE, su=size, turn=turn, gloss=gloss, p1=r.uniform(0.15, 0.6), grain=r.uniform(0.1, 0.7)
            )
        if kind == STONES:
            return self.material(STONES, su=r.uniform(0.15, 0.8), turn=turn, gloss=gloss)
        if kind == BRICK:
            return self.material(BRICK, su=r.uniform(0.15, 0.6), sv=r.uniform(0.08, 0.3), turn=turn, gloss=gloss)
        return self.material(PLAIN, turn=turn, gloss=gloss)

    def wall(self, *, bright: bool = True) -> int:
        r = self.rng
        a = self.colour(value=r.beta(3, 1.2)) if bright else self.colour()
        kinds = [PLAIN, WAINSCOT, POSTER, BRICK, CORRUGATED, TILE, NOISE, STRIPE, SHELF]
        kind = int(r.choice(kinds, p=[0.36, 0.12, 0.16, 0.08, 0.07, 0.06, 0.07, 0.04, 0.04]))
        if kind == WAINSCOT:
            return self.material(
                kind, a=a, b=self.colour(), c=self.colour(), p1=r.uniform(0.1, 1.6), p2=r.choice([0, 1])
            )
        if kind == POSTER:
            return self.material(
                kind, a=a, su=r.uniform(0.8, 3), sv=r.uniform(0.8, 2.5), p1=r.uniform(0.2, 0.8), grain=0.05
            )
        if kind == BRICK:
            return self.material(kind, a=a, su=r.uniform(0.2, 0.6), sv=r.uniform(0.07, 0.3))
        if kind == CORRUGATED:  # also folds of curtains
            return self.material(kind, a=a, b=a * r.uniform(0.4, 0.9), su=r.uniform(0.08, 0.6))
        if kind == TILE:
            return self.material(kind, a=a, su=r.uniform(0.15, 1.2), p1=0, p2=r.choice([0, 0.4]))
        if kind == NOISE:
            return self.material(kind, a=a, su=r.uniform(0.2, 3), p1=r.uniform(0.2, 0.6))
        if kind == STRIPE:
            return self.material(kind, a=a, su=r.uniform(0.1, 1.5), p1=r.uniform(0.2, 0.8))
        if kind == SHELF:
            return self.material(
                kind, a=a, b=self.colour(), su=r.uniform(0.05, 0.5), sv=r.uniform(0.25, 0.6), p1=r.choice([0, 1])
            )
        return self.material(kind, a=a, grain=r.uniform(0, 0.12))

    def thing(self) -> int:
        r = self.rng
        kind = int(
            r.choice(
                [PLAIN, PLANK, NOISE, WAINSCOT, POSTER, SHELF, TILE, STRIPE],
                p=[0.44, 0.1, 0.12, 0.06, 0.08, 0.1, 0.06, 0.04],
            )
        )
        size = r.uniform(0.05, 0.6)
        other = self.colour() if r.random() < 0.5 else None
        gloss = r.choice([0.0, 0.4], p=[0.85, 0.15])
        return self.material(kind, b=other, su=size, sv=size * r.uniform(0.5, 2), p1=r.uniform(0.2, 0.9), gloss=gloss)

    def box(self, x, y, z0, sx, sy, sz, material: int, label: int, yaw: float = 0.0) -> None:
        self.prims.append([BOX, x, y, z0 + sz / 2, sx / 2, sy / 2, sz / 2, yaw, 0, material, label, 0])

    def cylinder(self, x, y, z0, radius, height, material: int, label: int) -> None:
        self.prims.append([CYLINDER, x, y, z0 + height / 2, radius, radius, height / 2, 0, 0, material, label, 0])

    def ellipsoid(self, x, y, z, a, b, c, material: int, label: int, yaw: float = 0.0) -> None:
        self.prims.append([ELLIPSOID, x, y, z, a, b, c, yaw, 0, material, label, 0])


def _furniture(s: Scene, x: float, y: float, yaw: float, size: float = 1.0) -> None:
    r, m = s.rng, s.thing()
    c, sn = np.cos(yaw), np.sin(yaw)

    def part(dx, dy, z0, sx, sy, sz, material=None) -> None:
        s.box(
            x + c * dx - sn * dy, y + sn * dx + c * dy, z0, sx, sy, sz, m if material is None else material, OBJECT, yaw
        )

    names = [
        "table",
        "chair",
        "cabinet",
        "sofa",
        "box",
        "stack",
        "plant",
        "bin",
        "shelf",
        "person",
        "cart",
        "round",
        "post",
        "bench",
        "basin",
    ]
    kind = str(r.choice(names))
    if kind == "table":
        w, d, h = r.uniform(0.6, 2.4), r.uniform(0.5, 1.2), r.uniform(0.4, 1.0)
        part(0, 0, h - 0.05, w, d, 0.05)
        for i in (-1, 1):
            for j in (-1, 1):
                part(i * (w / 2 - 0.05), j * (d / 2 - 0.05), 0, 0.06, 0.06, h - 0.05)
        if r.random() < 0.6:
            part(r.uniform(-0.3, 0.3) * w, 0, h, *r.uniform(0.1, 0.5, 3), s.thing())
    elif kind == "chair":
        w, h = r.uniform(0.4, 0.6), r.uniform(0.4, 0.5)
        part(0, 0, h - 0.06, w, w, 0.06)
        part(0, w / 2 - 0.03, h, w, 0.05, r.uniform(0.35, 0.6))
        for i in (-1, 1):
            for j in (-1, 1):
                part(i * (w / 2 - 0.03), j * (w / 2 - 0.03), 0, 0.04, 0.04, h - 0.06)
    elif kind == "cabinet":
        part(0, 0, 0, r.uniform(0.4, 2.2), r.uniform(0.3, 0.7), r.uniform(0.5, 2.3))
    elif kind == "sofa":
        w, d = r.uniform(0.9, 2.6), r.uniform(0.7, 1.0)
        part(0, 0, 0, w, d, r.uniform(0.35, 0.5))
        part(0, d / 2 - 0.1, 0, w, 0.2, r.uniform(0.6, 0.95))
    elif kind == "bench":  # low, wide, two-coloured: the easiest thing to take for floor
        w, d, h = r.uniform(0.9, 2.8), r.uniform(0.5, 1.2), r.uniform(0.2, 0.55)
        part(0, 0, 0, w, d, 0.6 * h, s.material(PLAIN))
        part(0, 0, 0.6 * h, w * 1.02, d * 1.02, 0.4 * h, s.material(PLAIN, a=s.colour(saturation=r.uniform(0, 0.9))))
    elif kind == "basin":
        radius, h = r.uniform(0.6, 2.2) * size, r.uniform(0.2, 0.7)
        stone = s.material(int(r.choice([PLAIN, NOISE, STONES])), su=0.3)
        s.cylinder(x, y, 0, radius * 1.2, 0.4 * h, stone, OBJECT)
        s.cylinder(x, y, 0, radius, h, stone, OBJECT)
        s.cylinder(x, y, h, 0.2 * radius, r.uniform(0.3, 1.5), stone, OBJECT)
    elif kind == "box":
        part(0, 0, 0, *r.uniform(0.2, 1.1 * size, 3))
    elif kind == "stack":
        z = 0.0
        for _ in range(r.integers(2, 5)):
            q = r.uniform(0.25, 0.9 * size, 3)
            part(*r.normal(0, 0.04, 2), z, q[0], q[1], 0.7 * q[2], s.thing() if r.random() < 0.4 else m)
            z += 0.7 * q[2]
    elif kind == "plant":
        q = r.uniform(0.12, 0.3)
        s.cylinder(x, y, 0, q, q * 1.8, m, OBJECT)
        s.ellipsoid(x, y, q * 1.8 + r.uniform(0.2, 0.6), *r.uniform(0.2, 0.6, 3), _leaves(s), OBJECT)
    elif kind == "bin":
        s.cylinder(x, y, 0, r.uniform(0.12, 0.4), r.uniform(0.3, 1.1), m, OBJECT)
    elif kind == "shelf":
        goods = s.material(SHELF, su=r.uniform(0.05, 0.4), sv=r.uniform(0.25, 0.5), p1=r.choice([0, 1]))
        part(0, 0, 0, r.uniform(0.6, 2.5), r.uniform(0.25, 0.5), r.uniform(1.0, 2.4), goods)
    elif kind == "person":
        h = r.uniform(1.5, 1.9)
        s.cylinder(x, y, 0, 0.13, h * 0.5, m, OBJECT)
        s.ellipsoid(x, y, h * 0.66, 0.24, 0.17, h * 0.2, s.thing(), OBJECT, yaw)
        s.ellipsoid(
            x,
            y,
            h * 0.92,
            0.1,
            0.11,
            0.14,
            s.material(PLAIN, a=np.array([0.5, 0.3, 0.2]) * r.uniform(0.3, 1.4)),
            OBJECT,
        )
    elif kind == "cart":
        part(0, 0, r.uniform(0.1, 0.3), r.uniform(0.5, 1.4), r.uniform(0.4, 0.8), r.uniform(0.05, 0.6))
        part(0.4, 0, 0, 0.05, 0.5, 1.0)
        part(-0.3, 0, 0, 0.1, 0.5, 0.2)
    elif kind == "round":
        s.cylinder(x, y, 0.7, r.uniform(0.3, 0.7), 0.05, m, OBJECT)
        s.cylinder(x, y, 0, 0.05, 0.7, m, OBJECT)
    else:
        s.cylinder(x, y, 0, r.uniform(0.05, 0.2), r.uniform(0.4, 1.0), m, OBJECT)


def _leaves(s: Scene) -> int:
    r = s.rng
    green = np.array([0.05, 0.16, 0.03]) * r.uniform(0.5, 2.5)
    return s.material(NOISE, a=green, b=green * r.uniform(1.5, 3) + 0.03, su=r.uniform(0.05, 0.3), p1=0.4, grain=0.6)


def _wall_run(
    s: Scene, axis: int, at: float, a0: float, a1: float, height: float, material: int, out: int, doors: float
) -> None:
    """A wall at x = at (axis 0) or y = at (axis 1) from a0 to a1 with doors, openings, windows, skirting and pipes."""
    r = s.rng

    def slab(u0, u1, z0, z1, offset, depth, m, label=WALL) -> None:
        if u1 - u0 <= 1e-3 or z1 - z0 <= 1e-3:
            return
        middle, length, p = (u0 + u1) / 2, u1 - u0, at + out * (offset + depth / 2)
        if axis == 0:
            s.box(p, middle, z0, depth, length, z1 - z0, m, label)
        else:
            s.box(middle, p, z0, length, depth, z1 - z0, m, label)

    length, openings = a1 - a0, []
    if length > 2 and r.random() < doors:
        for _ in range(int(r.integers(1, 1 + max(1, int(length / 5)))) if length > 6 else 1):
            w = min(r.uniform(0.8, 1.8) if r.random() < 0.8 else r.uniform(2, 4), 0.5 * length)
            centre = r.uniform(a0 + w / 2 + 0.2, max(a0 + w / 2 + 0.21, a1 - w / 2 - 0.2))
            if all(abs(centre - q[0]) > (w + q[1]) / 2 + 0.3 for q in openings):
                openings.append((centre, w, min(r.uniform(2.0, 2.5), height - 0.05), r.random()))
    openings.sort()
    beyond = s.wall() if r.random() < 0.5 else material
    frame = s.material(PLAIN) if r.random() < 0.7 else material
    u = a0
    for centre, w, h, kind in openings:
        slab(u, centre - w / 2, 0, height, 0, 0.2, material)
        slab(centre - w / 2, centre + w / 2, h, height, 0, 0.2, material)
        u = centre + w / 2
        if kind < 0.45:
            leaf = s.material(int(r.choice([PLAIN, WAINSCOT, POSTER])), su=0.5, sv=0.7, p1=r.uniform(0.2, 0.9))
            slab(centre - w / 2, centre + w / 2, 0, h, r.uniform(0.02, 0.15), 0.05, leaf)
        else:
            depth, half = r.uniform(1.2, 8), r.uniform(w / 2 + 0.2, 4)
            slab(centre - half, centre + half, 0, height, depth, 0.1, beyond)
            for side in (-1, 1):
                edge = centre + side * half
                slab(edge - 0.05, edge + 0.05, 0, height, 0.2, depth, beyond)
        if r.random() < 0.7:
            e = r.uniform(0.04, 0.14)
            slab(centre - w / 2 - e, centre - w / 2, 0, h, -0.03, 0.03, frame)
            slab(centre + w / 2, centre + w / 2 + e, 0, h, -0.03, 0.03, frame)
            slab(centre - w / 2 - e, centre + w / 2 + e, h, h + e, -0.03, 0.03, frame)
    slab(u, a1, 0, height, 0, 0.2, material)
    if r.random() < 0.4 and length > 1.5:
        low, high = r.choice([0.05, 0.8, 1.0]), height - 0.2
        pane = s.material(
            int(r.choice([PLAIN, POSTER, NOISE])),
            a=s.colour(value=1.0, saturation=r.uniform(0, 0.4)),
            p1=0.6,
            glow=r.uniform(0.6, 3),
        )
        w, h = r.uniform(0.5, 2.4), min(r.uniform(0.8, 2.0), high - low)
        for _ in range(r.integers(1, 4)):
            centre = r.uniform(a0 + w / 2, max(a0 + w / 2 + 0.01, a1 - w / 2))
            if all(abs(centre - q[0]) > (w + q[1]) / 2 + 0.1 for q in openings):
                slab(centre - w / 2 - 0.06, centre + w / 2 + 0.06, low - 0.06, low + h + 0.06, -0.03, 0.02, frame)
                slab(centre - w / 2, centre + w / 2, low, low + h, -0.05, 0.03, pane)
                if r.random() < 0.35:
                    folds = s.material(CORRUGATED, su=r.uniform(0.08, 0.25))
                    slab(centre - w / 2 - 0.3, centre - 0.25 * w, 0.02, low + h + 0.2, -0.12, 0.06, folds)
                    slab(centre + 0.25 * w, centre + w / 2 + 0.3, 0.02, low + h + 0.2, -0.12, 0.06, folds)
    if r.random() < 0.5:
        slab(a0, a1, 0, r.uniform(0.06, 0.2), -0.02, 0.02, s.material(PLAIN))
    if r.random() < 0.25:
        z = r.uniform(0.5, 1) * height
        slab(a0, a1, z, z + r.uniform(0.05, 0.3), -0.15, 0.15, s.thing())


def _indoor(s: Scene, kind: str) -> None:
    r = s.rng
    sizes = {
        "room": (r.uniform(2.2, 9), r.uniform(2.5, 12), r.uniform(2.2, 3.6), r.uniform(0.1, 0.45)),
        "corridor": (r.uniform(1.3, 4.5), r.uniform(6, 50), r.uniform(2.2, 4), r.uniform(0.03, 0.3)),
        "hall": (r.uniform(8, 35), r.uniform(8, 45), r.uniform(2.8, 9), r.uniform(0.1, 0.4)),
        "warehouse": (r.uniform(12, 60), r.uniform(15, 80), r.uniform(4, 12), r.uniform(0.05, 0.35)),
    }
    X, Y, H, behind = sizes[kind]
    left = (r.uniform(0.3, 0.7) if kind == "corridor" else r.uniform(0.18, 0.82)) * X
    x0, x1, y0, y1 = -left, X - left, -behind * Y, (1 - behind) * Y
    s.ceiling_m, s.floor_material = H, s.floor()
    pale = s.colour(value=r.beta(3, 1)) if r.random() < 0.75 else s.colour()
    s.ceiling_material = s.material(
        int(r.choice([PLAIN, TILE, NOISE, PLANK, CORRUGATED])),
        a=pale,
        su=r.choice([0.3, 0.6, 1.2]),
        p1=0,
        p2=0,
        grain=r.uniform(0, 0.15),
    )
    main = s.wall(bright=r.random() < 0.8)
    walls = [main if r.random() < 0.6 else s.wall() for _ in range(4)]
    doors = 0.8 if kind == "corridor" else 0.5
    _wall_run(s, 0, x1, y0, y1, H, walls[0], 1, doors)
    _wall_run(s, 0, x0, y0, y1, H, walls[1], -1, doors)
    _wall_run(s, 1, y1, x0 - 0.2, x1 + 0.2, H, walls[2], 1, 0.5)
    _wall_run(s, 1, y0, x0 - 0.2, x1 + 0.2, H, walls[3], -1, 0.2)
    for _ in range(r.integers(0, 3) if kind != "corridor" else r.integers(0, 2)):  # L-shapes
        w, d = r.uniform(0.2, 0.35) * X, r.uniform(0.1, 0.4) * Y
        px, py = (x0 + w / 2 if r.random() < 0.5 else x1 - w / 2), r.uniform(y0 + d / 2, y1 - d / 2)
        if abs(px) > w / 2 + 0.5 or abs(py) > d / 2 + 0.6:
            s.box(px, py, 0, w, d, H, walls[r.integers(4)], WALL)
    if (kind in ("hall", "warehouse") and r.random() < 0.6) or r.random() < 0.1:
        gap, q, m, is_round = r.uniform(3, 9), r.uniform(0.12, 0.4), s.wall(), r.random() < 0.4
        ox, oy = r.uniform(0, gap, 2)
        for i in np.arange(x0 + ox, x1, gap)[:7]:
            for j in np.arange(max(y0, -2) + oy, y1, gap)[:7]:
                if i * i + j * j > (q + 0.7) ** 2:
                    s.cylinder(i, j, 0, q, H, m, WALL) if is_round else s.box(i, j, 0, 2 * q, 2 * q, H, m, WALL)
    if kind == "warehouse" and r.random() < 0.75:
        _racks(s, x0, x1, y1, H)
    if r.random() < 0.12 and kind in ("hall", "corridor", "room"):  # stairs
        steps, w, y = r.integers(3, 9), r.uniform(1, 3), r.uniform(2, max(2.1, y1 - 2))
        x, m = r.uniform(x0 + w / 2, max(x0 + w / 2 + 0.1, x1 - w / 2)), s.thing()
        for k in range(steps):
            s.box(x, y + 0.28 * k + 0.14, 0, w, 0.28, 0.17 * (k + 1), m, OBJECT)
    for _ in range(min(int(r.integers(0, 7) + (X * Y) ** 0.5 * r.uniform(0, 0.7)), 16)):
        if r.random() < 0.6:
            side = r.integers(3)
            if side < 2:
                x = x0 + r.uniform(0.2, 0.7) if side == 0 else x1 - r.uniform(0.2, 0.7)
                y, yaw = r.uniform(max(y0, 0.2), y1), np.pi / 2 * r.choice([1, -1])
            else:
                x, y, yaw = r.uniform(x0, x1), y1 - r.uniform(0.2, 0.7), 0.0
        else:
            x, y = r.uniform(x0 + 0.5, x1 - 0.5), r.uniform(0.8, max(1.0, min(y1 - 0.5, 12)))
            yaw = r.choice([0, np.pi / 2, r.uniform(0, 6.3)], p=[0.4, 0.3, 0.3])
        if abs(x) > 0.9 or abs(y) > 1.3:
            _furniture(s, x, y, yaw, 2.0 if kind == "warehouse" else 1.0)
    if r.random() < 0.25:  # something low and large right in front
        _near_platform(s)
    if r.random() < 0.4:
        for _ in range(r.integers(1, 3)):  # rugs are floor
            s.box(
                r.uniform(x0, x1) * 0.7,
                r.uniform(0.5, max(0.6, y1 * 0.8)),
                0,
                r.uniform(0.8, 3),
                r.uniform(0.8, 4),
                0.006,
                s.thing(),
                FLOOR,
                r.choice([0, 0, 0.4]),
            )
    glow = s.material(PLAIN, a=np.ones(3), glow=r.uniform(1.5, 5), grain=0)
    gap = r.uniform(4, 9) if kind == "warehouse" else r.uniform(1.5, 5)
    if r.random() < 0.85:
        strip = r.random() < 0.5
        for j in np.arange(y0 + gap / 2, y1, gap)[:10]:
            for i in [(x0 + x1) / 2] if kind == "corridor" else np.arange(x0 + gap / 2, x1, gap)[:5]:
                s.box(i, j, H - 0.06, 0.15 if strip else 0.6, 1.2, 0.04, glow, CEILING)
    if r.random() < (0.6 if kind in ("warehouse", "hall") else 0.15):
        beam, gap, w, d = s.thing(), r.uniform(1.5, 6), r.uniform(0.1, 0.4), r.uniform(0.15, 0.8)
        for j in np.arange(y0 + 0.5, y1, gap)[:10]:
            s.box((x0 + x1) / 2, j, H - d, X, w, d, beam, CEILING)
    for _ in range(r.integers(1, 5)):
        power = r.uniform(0.3, 1.4) * (H / 2.5) ** 1.3
        tint = power * np.clip(1 + r.normal(0, 0.12, 3), 0.5, 1.5)
        s.lights.append(
            [
                r.uniform(x0, x1) * 0.8,
                r.uniform(max(y0, -3), min(y1, 15)),
                H * r.uniform(0.7, 0.97),
                *tint,
                H * r.uniform(0.6, 1.6),
            ]
        )
    s.ambient = r.uniform(0.15, 0.9) * np.clip(1 + r.normal(0, 0.12, 3), 0.4, 1.6)
    s.ambient_down = s.ambient * r.uniform(0.4, 1.1)


def _near_platform(s: Scene) -> None:
    """A bed, bench or counter that may fill the lower edge of the picture."""
    r = s.rng
    w, d, h = r.uniform(0.8, 2.6), r.uniform(0.5, 2.0), r.uniform(0.2, 0.6)
    x, y, yaw = r.uniform(-1.5, 1.5), r.uniform(1.3, 3.2), r.uniform(-0.6, 0.6)
    top = s.material(int(r.choice([PLAIN, NOISE, STRIPE])), a=s.colour(saturation=r.uniform(0, 0.9)), su=0.4)
    s.box(x, y, 0, w, d, 0.6 * h, s.material(PLAIN), OBJECT, yaw)
    s.box(x, y, 0.6 * h, w * 1.02, d * 1.02, 0.4 * h, top, OBJECT, yaw)


def _racks(s: Scene, x0: float, x1: float, y1: float, H: float) -> None:
    r = s.rng
    w, aisle, level, high = r.uniform(0.8, 1.4), r.uniform(2, 4.5), r.uniform(1, 2), min(H - 0.5, r.uniform(2, 8))
    ya = r.uniform(0, 4)
    yb = min(y1 - 1, ya + r.uniform(6, 30))
    goods = s.material(
        SHELF,
        a=np.array([0.45, 0.28, 0.13]) * r.uniform(0.6, 1.4),
        b=s.colour(),
        su=r.uniform(0.4, 1.2),
        sv=level,
        p1=r.choice([0, 1]),
    )
    steel = s.material(PLAIN, a=s.colour(saturation=0.8))
    offset = r.uniform(0.8, max(0.9, aisle - 0.8))
    for side in (1, -1):
        x = offset if side > 0 else -(aisle - offset)
        for k in range(r.integers(1, 4)):
            middle = x + side * w / 2
            if x0 + w < middle < x1 - w and yb > ya:
                if r.random() < 0.65:
                    s.box(middle, (ya + yb) / 2, 0, w, yb - ya, high, goods, OBJECT)
                else:
                    posts = np.linspace(ya, yb, min(8, max(2, int((yb - ya) / 2.7))))
                    for y in posts:
                        s.box(middle, y, 0, w, 0.12, high, steel, OBJECT)
                    for z in np.arange(level, high, level)[:4]:
                        s.box(middle, (ya + yb) / 2, z, w, yb - ya, 0.13, steel, OBJECT)
                        for a, b in itertools.pairwise(posts):
                            if r.random() < 0.8:
                                s.box(
                                    middle,
                                    (a + b) / 2,
                                    z + 0.14,
                                    0.9 * w,
                                    0.8 * (b - a),
                                    level * r.uniform(0.3, 0.8),
                                    goods,
                                    OBJECT,
                                )
            x += side * (w + (0 if k % 2 == 0 else aisle) + 0.05)


def _tree(s: Scene, x: float, y: float) -> None:
    r = s.rng
    h = r.uniform(1.5, 4)
    s.cylinder(
        x, y, 0, r.uniform(0.08, 0.3), h, s.material(NOISE, a=np.array([0.12, 0.07, 0.04]), su=0.1, sv=0.3), OBJECT
    )
    leaves = _leaves(s)
    for _ in range(r.integers(1, 4)):
        s.ellipsoid(
            x + r.normal(0, 0.5), y + r.normal(0, 0.5), h + r.uniform(0, 1.5), *r.uniform(0.7, 2.2, 3), leaves, OBJECT
        )


def _car(s: Scene, x: float, y: float, yaw: float) -> None:
    r = s.rng
    paint, dark = s.material(PLAIN, gloss=0.5), s.material(PLAIN, a=np.full(3, 0.03), gloss=0.5)
    length, w = r.uniform(3.6, 4.9), r.uniform(1.6, 1.9)
    s.box(x, y, 0.2, w, length, r.uniform(0.5, 0.65), paint, OBJECT, yaw)
    s.box(x, y, 0.75, 0.85 * w, length * r.uniform(0.4, 0.6), r.uniform(0.45, 0.7), dark, OBJECT, yaw)
    s.box(x, y, 0.0, 0.9 * w, 0.8 * length, 0.25, dark, OBJECT, yaw)


def _facade(s: Scene) -> int:
    r, a = s.rng, s.colour()
    if r.random() < 0.7:
        glass = s.colour(value=r.uniform(0.02, 0.9), saturation=0.3)
        return s.material(
            FACADE,
            a=a,
            b=a * r.uniform(0.4, 1.3),
            c=glass,
            su=r.uniform(1.2, 4),
            sv=r.uniform(2.5, 4),
            p1=r.uniform(0.3, 0.9),
            p2=r.uniform(0.4, 0.85),
        )
    return s.wall(bright=False)


def _railing(s: Scene, x: float, y0: float, y1: float, yaw: float) -> None:
    """A fence of posts and bars along the way."""
    r, m = s.rng, s.thing()
    c, sn = np.cos(yaw), np.sin(yaw)
    h, gap = r.uniform(0.8, 1.3), r.uniform(0.8, 2.5)
    for y in np.arange(y0, y1, gap)[:14]:
        s.box(x - sn * y, c * y, 0, 0.12, 0.12, h, m, OBJECT, yaw)
    for z in (0.45 * h, 0.9 * h):
        s.box(x - sn * (y0 + y1) / 2, c * (y0 + y1) / 2, z, 0.06, y1 - y0, 0.08, m, OBJECT, yaw)


def _outdoor(s: Scene, kind: str) -> None:
    r = s.rng
    s.floor_material = s.floor(outdoors=True)
    if kind == "street":
        W = r.uniform(4, 26)
        middle = r.uniform(-0.35, 0.35) * W
        if r.random() < 0.6:
            s.box(middle, 40, 0, W * r.uniform(0.6, 0.9), 200, 0.004, s.floor(outdoors=True), FLOOR)
        for side in (-1, 1):
            y, base = -r.uniform(4, 15), middle + side * W / 2
            while y < 110:
                length, h = r.uniform(4, 22), r.choice([r.uniform(3, 8), r.uniform(8, 30)])
                depth, back = r.uniform(5, 14), r.choice([0, 0, r.uniform(0, 3)])
                s.box(base + side * (depth / 2 + back), y + length / 2, 0, depth, length, h, _facade(s), WALL)
                if r.random() < 0.3:  # balcony or awning
                    s.box(
                        base + side * (back - 0.4),
                        y + length / 2,
                        r.uniform(2.5, 3.2),
                        0.9,
                        0.8 * length,
                        0.15,
                        s.thing(),
                        WALL,
                    )
                if r.random() < 0.25:  # eaves
                    s.box(
                        base + side * (depth / 2 + back),
                        y + length / 2,
                        h - 0.3,
                        1.15 * depth,
                        1.1 * length,
                        0.3,
                        s.thing(),
                        WALL,
                    )
                y += length + (r.uniform(1, 8) if r.random() < 0.25 else 0)
        if r.random() < 0.6:
            s.box(
                middle + r.uniform(-5, 5),
                r.uniform(25, 120),
                0,
                W * r.uniform(1, 3),
                10,
                r.uniform(5, 35),
                _facade(s),
                WALL,
            )
        for _ in range(r.integers(0, 5)):
            _car(s, middle + r.choice([-1, 1]) * W * r.uniform(0.1, 0.42), r.uniform(4, 40), r.choice([0, np.pi]))
        for _ in range(r.integers(0, 6)):
            _tree(s, middle + r.choice([-1, 1]) * W * r.uniform(0.32, 0.48), r.uniform(3, 50))
        for _ in range(r.integers(0, 8)):
            _furniture(s, middle + r.uniform(-0.45, 0.45) * W, r.uniform(2, 20), r.uniform(0, 6.3), 1.5)
    else:
        if r.random() < 0.5:
            s.box(r.normal(0, 2), 30, 0, r.uniform(1.5, 6), 100, 0.006, s.floor(outdoors=True), FLOOR, r.normal(0, 0.3))
        for _ in range(r.integers(0, 9)):
            a, y = r.uniform(0.2, 2.5), r.uniform(2, 50)
            x = r.normal(0, 0.7) * y
            if x * x + y * y > (2 * a + 0.6) ** 2:
                s.ellipsoid(
                    x,
                    y,
                    0.1 * a,
                    a * r.uniform(0.6, 1.6),
                    a,
                    a * r.uniform(0.4, 1),
                    s.material(int(r.choice([NOISE, STONES])), su=0.4, grain=0.5),
                    OBJECT,
                    r.uniform(0, 3),
                )
        for _ in range(r.integers(0, 8)):
            y = r.uniform(4, 60)
            _tree(s, r.normal(0, 0.8) * y, y)
        for _ in range(r.integers(0, 5)):
            y, q = r.uniform(8, 90), r.uniform(4, 20, 2)
            x = r.normal(0, 0.8) * y
            if x * x + y * y > (q.max() + 1) ** 2:
                s.box(
                    x, y, 0, q[0], q[1], r.uniform(3, 25), _facade(s), WALL, r.uniform(0, 3) if r.random() < 0.5 else 0
                )
        for _ in range(r.integers(0, 3)):
            x = r.choice([-1, 1]) * r.uniform(1, 8)
            if r.random() < 0.4:
                _railing(s, x, r.uniform(0.5, 2), r.uniform(8, 30), r.normal(0, 0.15))
            else:  # hedges and low walls
                hedge = r.random() < 0.5
                s.box(
                    x,
                    r.uniform(5, 20),
                    0,
                    r.uniform(0.2, 1.0),
                    r.uniform(5, 30),
                    r.uniform(0.5, 3),
                    _leaves(s) if hedge else s.wall(bright=False),
                    OBJECT if hedge else WALL,
                    r.normal(0, 0.15),
                )
        for _ in range(r.integers(0, 7)):
            y = r.uniform(2, 20)
            _furniture(s, r.normal(0, 0.6) * y, y, r.uniform(0, 6.3), 1.8)
        for _ in range(r.integers(0, 6)):  # hills and mountains, hazy
            haze = np.array([0.14, 0.18, 0.26]) * r.uniform(0.4, 2.2)
            s.ellipsoid(
                r.normal(0, 250),
                r.uniform(150, 500),
                0,
                r.uniform(50, 250),
                60,
                r.uniform(15, 160),
                s.material(NOISE, su=20, a=0.4 * s.colour() + haze, grain=0.4),
                WALL,
            )
    high, around = np.radians(r.uniform(8, 75)), r.uniform(0, 2 * np.pi)
    s.sun_direction = np.array([np.cos(around) * np.cos(high), np.sin(around) * np.cos(high), np.sin(high)])
    power = r.choice([0.0, r.uniform(0.5, 3)], p=[0.35, 0.65])
    s.sun = power * np.array([1, 0.93, 0.82]) * np.clip(1 + r.normal(0, 0.08, 3), 0.6, 1.3)
    s.ambient = r.uniform(0.35, 0.8) * np.array([0.9, 0.97, 1.08])
    s.ambient_down = s.ambient * r.uniform(0.3, 0.7)


def camera_rotation(pitch_rad: float, roll_rad: float) -> np.ndarray:
    """[3, 3] takes camera axes to the world for a camera that looks along +y; its third row is `up_in_cam`."""
    cp, sp, cr, sr = np.cos(pitch_rad), np.sin(pitch_rad), np.cos(roll_rad), np.sin(roll_rad)
    right, down, forward = np.array([1.0, 0, 0]), np.array([0, sp, -cp]), np.array([0, cp, sp])
    # Turning the camera clockwise moves its right axis down.
    return np.stack([cr * right + sr * down, -sr * right + cr * down, forward], 1)


def sample(seed: int, width: int = 160, height: int = 96, samples: int = 2, kind: str | None = None) -> Sample:
    """The picture of a seed."""
    r = np.random.default_rng(seed)
    s = Scene(rng=r)
    kind = kind or str(r.choice(KINDS, p=_KIND_SHARE))
    _outdoor(s, kind) if kind in ("street", "open") else _indoor(s, kind)
    turn = np.radians(r.choice([r.normal(0, 8), r.normal(0, 25), r.uniform(-90, 90)], p=[0.35, 0.45, 0.2]))
    h = float(np.clip(np.exp(r.normal(np.log(1.45), 0.28)), 0.3, 3.2))
    if s.ceiling_m > 0:
        h = min(h, s.ceiling_m - 0.4)
    elif r.random() < 0.12:
        h = r.uniform(2.5, 8)
    pitch = np.radians(np.clip(r.normal(-4, 9), -35, 25))
    roll = np.radians(r.normal(0, 2) if r.random() < 0.85 else r.normal(0, 7))
    f_px = width / 2 / np.tan(np.radians(np.clip(r.normal(70, 14), 42, 108)) / 2)
    c, sn = np.cos(turn), np.sin(turn)
    prims = []
    for p in s.prims:
        q = list(p)
        q[1], q[2] = c * p[1] - sn * p[2], sn * p[1] + c * p[2]
        q[7], q[8] = np.cos(p[7] + turn), np.sin(p[7] + turn)
        at_camera = np.hypot(q[1], q[2]) < max(q[4], q[5]) * 1.15 + 0.2 and abs(q[3] - h) < q[6] + 0.3
        if q[10] != OBJECT or not at_camera:
            prims.append(q)
    if len(prims) > MAX_PRIMS:
        prims.sort(key=lambda q: (q[10] == OBJECT) * (np.hypot(q[1], q[2]) + (50 if q[2] < 0 else 0)))
        prims = prims[:MAX_PRIMS]
    if not s.materials:
        s.material(PLAIN)
    env = np.zeros(ENV_WIDTH)
    env[0], env[1], env[2] = s.ceiling_m, s.floor_material, s.ceiling_material
    env[3:6] = (
        c * s.sun_direction[0] - sn * s.sun_direction[1],
        sn * s.sun_direction[0] + c * s.sun_direction[1],
        s.sun_direction[2],
    )
    env[6:9], env[9:12], env[12:15] = s.sun, s.ambient, s.ambient_down
    low = s.colour(value=r.uniform(0.7, 1), saturation=r.uniform(0, 0.35)) * r.uniform(0.7, 1.6)
    high = (
        np.array([0.15, 0.35, 0.8]) * r.uniform(0.3, 1.4)
        if r.random() < 0.6
        else 1.2 * s.colour(value=r.uniform(0.3, 1))
    )
    env[15:18], env[18:21] = low, low * r.uniform(0.8, 1.1) if r.random() < 0.25 else high
    env[21], env[22], env[23] = r.choice([0, r.uniform(0.5, 3)]), r.uniform(0.35, 0.6), r.uniform(0.7, 1.4)
    lights = np.array(s.lights[:4], float).reshape(-1, LIGHT_WIDTH)
    for light in lights:
        light[0], light[1] = c * light[0] - sn * light[1], sn * light[0] + c * light[1]
    linear, depth, labels = render(
        np.array(prims, float).reshape(-1, PRIM_WIDTH), np.array(s.materials), lights, env,
        camera_rotation(pitch, roll), h, f_px, width, height, samples, seed & 0x7FFFFFFF,
    )  # fmt: skip
    return Sample(
        rgb_u8=_developed(linear, r),
        depth_z_m=depth,
        labels=labels,
        f_px=float(f_px),
        pitch_rad=float(pitch),
        roll_rad=float(roll),
        height_m=h,
        kind=kind,
    )


def _developed(linear: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """[H, W, 3] uint8: exposure, white balance, tone curve, vignette and noise of a camera."""
    h, w = linear.shape[:2]
    exposure = r.uniform(0.25, 0.6) / max(float(np.median(linear)), 1e-3) * np.exp(r.normal(0, 0.3))
    x = linear * exposure * np.clip(1 + r.normal(0, 0.06, 3), 0.8, 1.25)
    x = np.clip(x * (1 + x / r.uniform(3, 12)) / (1 + x), 0, 1) ** (1 / 2.2)
    rows, cols = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    x *= (1 - r.uniform(0, 0.25) * (rows**2 + cols**2) / 2)[..., None]
    x += r.normal(0, r.uniform(0, 0.02), x.shape)
    return np.clip(255 * x + 0.5, 0, 255).astype(np.uint8)
