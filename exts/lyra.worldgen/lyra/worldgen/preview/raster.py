"""Pictures of a textured mesh by rasterising: a film needs a hundred of them, where ray casting would take minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, transform_points
from ..core.mesh import TriMesh
from ..core.optional import require

SKY_TOP, SKY_LOW = np.array([126, 160, 205.0]), np.array([214, 224, 236.0])


@dataclass(frozen=True, kw_only=True)
class RasterImage:
    """One picture."""

    rgb_u8: np.ndarray
    """[H, W, 3]; a plain sky where nothing was hit."""
    depth_z_m: np.ndarray
    """[H, W] float64, inf where nothing was hit."""
    face: np.ndarray
    """[H, W] int32, -1 where nothing was hit."""


class MeshRasteriser:
    """Draws one mesh from any number of poses."""

    def __init__(self, mesh: TriMesh) -> None:
        self._mesh = mesh
        self._vertices = np.ascontiguousarray(mesh.vertices, np.float64)
        self._faces = np.ascontiguousarray(mesh.faces, np.int32)
        texture, self._uv = _texture_of(mesh)
        self._levels = [texture, _halved(texture)]
        self._levels.append(_halved(self._levels[1]))
        self._texels_per_m = _texel_density(mesh, self._uv, texture.shape[:2])

    def render(self, camera: PinholeCamera, T_world_cam: np.ndarray, *, supersample: int = 1) -> RasterImage:
        """The mesh from a camera.

        Args:
            camera: size and intrinsics of the picture.
            T_world_cam: [4, 4] pose.
            supersample: draws that many times larger and averages colours; depth and face are of every n-th pixel.

        Raises:
            DependencyError: numba is not installed.
        """
        require("numba", extra="recon")
        from . import raster_numba

        n = supersample
        big = camera.resized(camera.width_px * n, camera.height_px * n) if n > 1 else camera
        hw = (big.height_px, big.width_px)
        depth, face = np.full(hw, np.inf), np.full(hw, -1, np.int32)
        u, v = np.zeros(hw, np.float32), np.zeros(hw, np.float32)
        vertices_cam = transform_points(invert_rigid(np.asarray(T_world_cam, float)), self._vertices)
        raster_numba.fill(
            vertices_cam, self._faces, self._uv, big.fx_px, big.fy_px, big.cx_px, big.cy_px, depth, face, u, v
        )
        rgb = np.empty((*hw, 3), np.uint8)
        up_cam = np.ascontiguousarray(np.asarray(T_world_cam, float)[2, :3])
        raster_numba.sky(face, up_cam, big.fx_px, big.fy_px, big.cx_px, big.cy_px, SKY_LOW, SKY_TOP, rgb)
        raster_numba.shade(depth, face, u, v, self._texels_per_m, big.fy_px, *self._levels, rgb)
        if n > 1:
            h, w = camera.height_px, camera.width_px
            rgb = (rgb.reshape(h, n, w, n, 3).mean((1, 3)) + 0.5).astype(np.uint8)
            depth, face = depth[n // 2 :: n, n // 2 :: n], face[n // 2 :: n, n // 2 :: n]
        return RasterImage(rgb_u8=rgb, depth_z_m=depth, face=face)


def _texture_of(mesh: TriMesh) -> tuple[np.ndarray, np.ndarray]:
    """Texture [H, W, 3] uint8 and uv [F, 3, 2] float32; one texel a face where the mesh has no texture."""
    if mesh.texture_u8 is not None and mesh.uv is not None:
        return np.ascontiguousarray(mesh.texture_u8), np.ascontiguousarray(mesh.uv, np.float32)
    count = max(mesh.face_count, 1)
    # Four texels a face, so that bilinear look-ups and the coarser levels stay inside it.
    side = int(np.ceil(np.sqrt(count)))
    colours = np.full((side * side, 3), 150, np.uint8)
    if mesh.vertex_rgb_u8 is not None:
        colours[: mesh.face_count] = mesh.vertex_rgb_u8[mesh.faces].mean(1)
    else:
        light = 110 + 90 * np.abs(mesh.face_normals() @ np.array([0.36, 0.48, 0.8]))
        colours[: mesh.face_count] = light[:, None]
    texture = np.repeat(np.repeat(colours.reshape(side, side, 3), 4, 0), 4, 1)
    row, col = np.divmod(np.arange(mesh.face_count), side)
    uv = np.stack([(col + 0.5) / side, 1 - (row + 0.5) / side], -1)
    return texture, np.repeat(uv[:, None], 3, 1).astype(np.float32)


def _halved(texture: np.ndarray) -> np.ndarray:
    h, w = (max(1, n // 2) for n in texture.shape[:2])
    even = texture[: 2 * h, : 2 * w]
    if even.shape[:2] != (2 * h, 2 * w):
        return texture
    quads = even.reshape(h, 2, w, 2, 3)
    total = quads[:, 0, :, 0].astype(np.uint16) + quads[:, 0, :, 1] + quads[:, 1, :, 0] + quads[:, 1, :, 1]
    return ((total + 2) // 4).astype(np.uint8)


def _texel_density(mesh: TriMesh, uv: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Texels per metre of each face, [F]."""
    e1, e2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area_uv = 0.5 * np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]).astype(float) * hw[0] * hw[1]
    return np.sqrt(area_uv / np.maximum(mesh.face_areas_m2(), 1e-9))
