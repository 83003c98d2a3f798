"""The analytic room with a texture that no place shares with another, so that features can be matched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lyra.worldgen.core.frames import transform_points
from lyra.worldgen.core.views import RgbdView
from rooms import AnalyticRoom, analytic_room

WAVES = 90


def textured(points_world: np.ndarray, rgb_u8: np.ndarray) -> np.ndarray:
    """[N, 3] uint8: waves in random directions, 0.15 to 1.5 m long, over the surfaces' own colours."""
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths_m = np.exp(rng.uniform(np.log(0.15), np.log(1.5), WAVES))
    phases = rng.uniform(0, 2 * np.pi, WAVES)
    waves = np.sin(points_world @ (2 * np.pi * directions / lengths_m[:, None]).T + phases)
    value = waves @ rng.normal(size=WAVES) / np.sqrt(WAVES)
    return np.clip(rgb_u8 * 0.5 + 50 + 45 * value[:, None], 0, 255).astype(np.uint8)


def textured_view(room: AnalyticRoom, T_world_cam: np.ndarray | None = None, *, view_id: int = 0) -> RgbdView:
    """Exact picture and depth from a pose in the room."""
    view = room.render(T_world_cam=T_world_cam, view_id=view_id)
    points = transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m).reshape(-1, 3))
    # The surfaces' plain colours: the checker would match itself everywhere.
    plain = np.full((len(points), 3), 140, np.uint8)
    return replace(view, rgb_u8=textured(points, plain).reshape(view.rgb_u8.shape))


def walk_poses(room: AnalyticRoom, count: int, *, step_m: float = 0.06) -> np.ndarray:
    """[count, 4, 4] along a gentle arc ahead, turning left."""
    from lyra.worldgen.core.frames import rigid, rotation_z

    Ts = []
    for k in range(count):
        turn = rigid(rotation_z(0.012 * k), np.zeros(3))
        T = room.T_world_cam.copy()
        T[:3, :3] = (turn @ rigid(T[:3, :3], np.zeros(3)))[:3, :3]
        T[:3, 3] += [step_m * k, 0.2 * step_m * k, 0.0]
        Ts.append(T)
    return np.stack(Ts)


def big_room() -> AnalyticRoom:
    return analytic_room(width_px=256, height_px=192)
