"""Rooms, corridors, halls and warehouses with what stands in them."""

from __future__ import annotations

import itertools

import numpy as np
from raycast import (
    CEILING,
    CORRUGATED,
    FLOOR,
    NOISE,
    OBJECT,
    PLAIN,
    PLANK,
    POSTER,
    SHELF,
    STRIPE,
    TILE,
    WAINSCOT,
    WALL,
)
from scene_parts import Scene
from scene_things import furniture


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


def indoor(s: Scene, kind: str) -> None:
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
            furniture(s, x, y, yaw, 2.0 if kind == "warehouse" else 1.0)
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
