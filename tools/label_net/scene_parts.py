"""A scene under construction: materials, colours, lights and the solids that it is made of."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field

import numpy as np
from raycast import (
    BOX,
    BRICK,
    CORRUGATED,
    CYLINDER,
    ELLIPSOID,
    MATERIAL_WIDTH,
    NOISE,
    PLAIN,
    PLANK,
    POSTER,
    SHELF,
    STONES,
    STRIPE,
    TILE,
    WAINSCOT,
)


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
