"""One camera picture with everything a simulator would be asked for: colour from splats, ground truth from the mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import expect_rigid, rotate_vectors
from ..core.mesh import Label
from ..core.splats import GaussianCloud
from ..reconstruction.splat_render import render_splats
from .world import SensorWorld

COVERED = 0.5
"""Opacity from which splats hide what is behind them."""
SUPERSAMPLE = 2
"""Both pictures are drawn that many times larger and averaged: textures flicker less, and the low-pass that renderers
add to every splat covers half a pixel instead of a whole one."""


@dataclass(frozen=True, kw_only=True)
class SensorFrame:
    """Everything one camera sees from one pose; arrays share the picture's [H, W]."""

    camera: PinholeCamera
    T_world_cam: np.ndarray
    """[4, 4]."""
    rgb_u8: np.ndarray
    """[H, W, 3] sRGB of the splats over black; of the mesh in a world without splats."""
    alpha: np.ndarray
    """[H, W] float32 opacity of the splats; 1 in a world without splats."""
    depth_z_m: np.ndarray
    """[H, W] float32 depth of the visible mesh along the optical axis; 0 where `valid` is false."""
    normals_world: np.ndarray
    """[H, W, 3] float32 unit normals of the visible mesh, towards the camera; 0 where `valid` is false."""
    labels: np.ndarray
    """[H, W] uint8 `Label` of the visible mesh, SKY included; UNKNOWN where nothing was hit."""
    valid: np.ndarray
    """[H, W] bool: something solid is seen; false in the sky."""
    splat_depth_z_m: np.ndarray
    """[H, W] float32 depth at which the splats have taken half of the light; 0 where `splat_valid` is false."""
    splat_valid: np.ndarray
    """[H, W] bool: splats of something solid are seen; false in the sky."""
    mesh_rgb_u8: np.ndarray
    """[H, W, 3] picture of the visible mesh."""


def render_sensors(world: SensorWorld, T_world_cam: np.ndarray, camera: PinholeCamera) -> SensorFrame:
    """What a camera sees: RGB from splats; depth, normals and labels from the visible mesh.

    Args:
        world: from `load_sensor_world`.
        T_world_cam: [4, 4] rigid pose, OpenCV axes.
        camera: size and intrinsics.

    Raises:
        InputError: the pose is not rigid.
        DependencyError: numba is not installed.
    """
    T_world_cam = expect_rigid("T_world_cam", T_world_cam)
    image = world.rasteriser.render(camera, T_world_cam, supersample=SUPERSAMPLE)
    hit = image.face >= 0
    face = np.maximum(image.face, 0)
    labels = np.zeros(hit.shape, np.uint8)
    if world.mesh.face_labels is not None:
        labels = np.where(hit, world.mesh.face_labels[face], 0).astype(np.uint8)
    valid = hit & (labels != Label.SKY)
    normals = world.face_normals[face]
    away = np.einsum("hwi,hwi->hw", normals, rotate_vectors(T_world_cam, camera.rays_cam())) > 0
    normals = np.where(away[..., None], -normals, normals)
    depth_z_m = np.where(valid, image.depth_z_m, 0.0).astype(np.float32)
    if world.splats is None:
        rgb_u8, alpha, splat_depth = image.rgb_u8, np.ones(hit.shape, np.float32), depth_z_m
        splat_valid = valid
    else:
        rgb_u8, alpha, splat_depth = _draw_splats(world.splats, camera, T_world_cam)
        splat_valid = splat_depth > 0
    return SensorFrame(
        camera=camera,
        T_world_cam=T_world_cam,
        rgb_u8=rgb_u8,
        alpha=alpha,
        depth_z_m=depth_z_m,
        normals_world=np.where(valid[..., None], normals, 0.0).astype(np.float32),
        labels=labels,
        valid=valid,
        splat_depth_z_m=splat_depth,
        splat_valid=splat_valid,
        mesh_rgb_u8=image.rgb_u8,
    )


def _draw_splats(
    splats: GaussianCloud, camera: PinholeCamera, T_world_cam: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture over black [H, W, 3] uint8, mean opacity [H, W] and depth [H, W] of the same places as the mesh's."""
    n = SUPERSAMPLE
    h, w = camera.height_px, camera.width_px
    drawn = render_splats(splats, camera.resized(w * n, h * n), T_world_cam)
    rgb = np.clip(drawn.rgb, 0, 1).reshape(h, n, w, n, 3).mean((1, 3))
    alpha = drawn.alpha.reshape(h, n, w, n).mean((1, 3))
    return (rgb * 255 + 0.5).astype(np.uint8), alpha, drawn.median_depth_z_m[n // 2 :: n, n // 2 :: n].copy()
