"""Seeded procedural scenes with exact labels and depth: rooms, corridors, halls, warehouses, streets, open ground.

One integer makes one picture. The scenes are deliberately nastier than photos: random yaw, rolled cameras, clutter,
glossy floors, walls in the face. Low furniture near the camera and round basins are in because photos have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from raycast import (
    ENV_WIDTH,
    LIGHT_WIDTH,
    OBJECT,
    PLAIN,
    PRIM_WIDTH,
    render,
)
from scene_indoors import indoor
from scene_outdoors import outdoor
from scene_parts import Scene

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
    outdoor(s, kind) if kind in ("street", "open") else indoor(s, kind)
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
