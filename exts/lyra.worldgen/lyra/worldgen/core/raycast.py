"""Ray queries against a triangle mesh, Embree through the embreex package; directions all around to cast them in."""

from __future__ import annotations

import numpy as np

from .arrays import expect_shape
from .camera import PinholeCamera
from .frames import rotate_vectors
from .mesh import TriMesh
from .optional import require


def directions_all_around(count: int, *, turn_rad: float = 0.0) -> np.ndarray:
    """[count, 3] unit vectors spread evenly over the sphere (a Fibonacci sphere), turned about +Z."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k + turn_rad
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)


class Raycaster:
    """Nearest hits on one mesh. Faces are hit from both sides."""

    def __init__(self, mesh: TriMesh) -> None:
        scene_mod = require("embreex.rtcore_scene", extra="gen", package="embreex")
        mesh_mod = require("embreex.mesh_construction", extra="gen", package="embreex")
        self.mesh = mesh
        self._scene = scene_mod.EmbreeScene()
        # Embree keeps float32 positions; the record stays alive with the scene because the binding does not copy it.
        self._triangles = np.ascontiguousarray(mesh.triangles(), np.float32)
        self._geometry = mesh_mod.TriangleMesh(self._scene, self._triangles)
        normals = mesh.face_normals()
        self._planes = (normals, np.einsum("ij,ij->i", mesh.triangles()[:, 0], normals))

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nearest hit of each ray.

        Args:
            origins: [N, 3] world [m].
            directions: [N, 3] world, any length.

        Returns:
            t [N] float64 in units of the direction's length (inf on a miss), face [N] int32 (-1 on a miss),
            bary [N, 3] float64 weights of the face's corners (0 on a miss).
        """
        origins = np.broadcast_to(origins, np.shape(directions)).astype(np.float64)
        expect_shape("directions", np.asarray(directions), (None, 3))
        hit = self._scene.run(
            np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=1
        )
        face = np.asarray(hit["primID"], np.int32)
        ok = face >= 0
        t = np.full(len(face), np.inf)
        bary = np.zeros((len(face), 3))
        if ok.any():
            # Embree's distance is float32; intersecting the plane again in float64 keeps flat things flat.
            normal, offset = self._planes[0][face[ok]], self._planes[1][face[ok]]
            denominator = np.einsum("ij,ij->i", np.asarray(directions, np.float64)[ok], normal)
            numerator = offset - np.einsum("ij,ij->i", origins[ok], normal)
            exact = numerator / np.where(denominator == 0, 1, denominator)
            coarse = np.asarray(hit["tfar"], np.float64)[ok]
            usable = (denominator != 0) & (np.abs(exact - coarse) <= 1e-3 * np.maximum(np.abs(coarse), 1e-3))
            t[ok] = np.where(usable, exact, coarse)
            u, v = np.asarray(hit["u"], np.float64)[ok], np.asarray(hit["v"], np.float64)[ok]
            bary[ok] = np.stack([1 - u - v, u, v], -1)
        return t, face, bary

    def render(self, camera: PinholeCamera, T_world_cam: np.ndarray) -> MeshImage:
        """What the camera sees: depth_z_m, face and barycentric weights per pixel."""
        rays_world = rotate_vectors(T_world_cam, camera.rays_cam()).reshape(-1, 3)
        t, face, bary = self.cast(T_world_cam[:3, 3], rays_world)
        hw = (camera.height_px, camera.width_px)
        # Rays have unit z in cam, so t is depth along the optical axis.
        return MeshImage(depth_z_m=t.reshape(hw), face=face.reshape(hw), bary=bary.reshape(*hw, 3))


class MeshImage:
    """Per-pixel hits of one view."""

    def __init__(self, *, depth_z_m: np.ndarray, face: np.ndarray, bary: np.ndarray) -> None:
        self.depth_z_m = depth_z_m
        """[H, W] float64, inf where nothing was hit."""
        self.face = face
        """[H, W] int32, -1 where nothing was hit."""
        self.bary = bary
        """[H, W, 3]."""

    @property
    def hit(self) -> np.ndarray:
        return self.face >= 0

    def labels(self, mesh: TriMesh) -> np.ndarray:
        """[H, W] uint8 `Label` of the faces seen; UNKNOWN on a miss or without labels."""
        if mesh.face_labels is None:
            return np.zeros(self.face.shape, np.uint8)
        return np.where(self.hit, mesh.face_labels[np.maximum(self.face, 0)], 0).astype(np.uint8)

    def shade(self, mesh: TriMesh) -> np.ndarray:
        """[H, W, 3] uint8 colours from the mesh's texture (bilinear), else its vertex colours, else grey."""
        rgb = np.full((*self.face.shape, 3), 127.0)
        hit = self.hit
        if mesh.uv is not None and mesh.texture_u8 is not None:
            uv = np.einsum("nk,nkc->nc", self.bary[hit], mesh.uv[self.face[hit]])
            rgb[hit] = sample_texture(mesh.texture_u8, uv)
        elif mesh.vertex_rgb_u8 is not None:
            corners = mesh.vertex_rgb_u8[mesh.faces[self.face[hit]]].astype(float)
            rgb[hit] = np.einsum("nk,nkc->nc", self.bary[hit], corners)
        return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)


def sample_texture(texture_u8: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear colours [N, 3] float64 at uv [N, 2], v = 1 in row 0, clamped at the border."""
    h, w = texture_u8.shape[:2]
    x = np.clip(uv[:, 0] * w - 0.5, 0, w - 1)
    y = np.clip((1 - uv[:, 1]) * h - 0.5, 0, h - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = texture_u8[y0, x0] * (1 - fx) + texture_u8[y0, x1] * fx
    bottom = texture_u8[y1, x0] * (1 - fx) + texture_u8[y1, x1] * fx
    return top * (1 - fy) + bottom * fy
