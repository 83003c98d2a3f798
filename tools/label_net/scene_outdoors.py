"""Streets and open ground with what stands there."""

from __future__ import annotations

import numpy as np
from raycast import (
    FACADE,
    FLOOR,
    NOISE,
    OBJECT,
    PLAIN,
    STONES,
    WALL,
)
from scene_parts import Scene
from scene_things import furniture, leaf_material


def _tree(s: Scene, x: float, y: float) -> None:
    r = s.rng
    h = r.uniform(1.5, 4)
    s.cylinder(
        x, y, 0, r.uniform(0.08, 0.3), h, s.material(NOISE, a=np.array([0.12, 0.07, 0.04]), su=0.1, sv=0.3), OBJECT
    )
    leaves = leaf_material(s)
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


def outdoor(s: Scene, kind: str) -> None:
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
            furniture(s, middle + r.uniform(-0.45, 0.45) * W, r.uniform(2, 20), r.uniform(0, 6.3), 1.5)
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
                    leaf_material(s) if hedge else s.wall(bright=False),
                    OBJECT if hedge else WALL,
                    r.normal(0, 0.15),
                )
        for _ in range(r.integers(0, 7)):
            y = r.uniform(2, 20)
            furniture(s, r.normal(0, 0.6) * y, y, r.uniform(0, 6.3), 1.8)
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
