"""What stands in rooms and outdoors alike: furniture, and what leaves are made of."""

from __future__ import annotations

import numpy as np
from raycast import (
    NOISE,
    OBJECT,
    PLAIN,
    SHELF,
    STONES,
)
from scene_parts import Scene


def furniture(s: Scene, x: float, y: float, yaw: float, size: float = 1.0) -> None:
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
        s.ellipsoid(x, y, q * 1.8 + r.uniform(0.2, 0.6), *r.uniform(0.2, 0.6, 3), leaf_material(s), OBJECT)
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


def leaf_material(s: Scene) -> int:
    r = s.rng
    green = np.array([0.05, 0.16, 0.03]) * r.uniform(0.5, 2.5)
    return s.material(NOISE, a=green, b=green * r.uniform(1.5, 3) + 0.03, su=r.uniform(0.05, 0.3), p1=0.4, grain=0.6)
