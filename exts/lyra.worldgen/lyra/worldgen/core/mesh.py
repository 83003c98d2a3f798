"""Triangle mesh record with labels and an optional texture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from .arrays import expect_finite, expect_shape
from .errors import InputError


class Label(IntEnum):
    """What a surface or pixel is. The values are stored in files: append, never renumber."""

    UNKNOWN = 0
    FLOOR = 1
    WALL = 2
    CEILING = 3
    OBJECT = 4
    SKY = 5
    BACKDROP = 6
    """Scenery beyond the reach of the world's geometry, standing in for everything behind it."""


@dataclass(frozen=True, kw_only=True)
class TriMesh:
    """Triangles, counter-clockwise seen from free space."""

    vertices: np.ndarray
    """[N, 3] float64, world frame [m]."""
    faces: np.ndarray
    """[F, 3] int32 vertex indices."""
    face_labels: np.ndarray | None = None
    """[F] uint8 `Label` values."""
    uv: np.ndarray | None = None
    """[F, 3, 2] float32 texture coordinates per corner, origin bottom-left as in USD and glTF-flipped."""
    texture_u8: np.ndarray | None = None
    """[H, W, 3] uint8 sRGB, row 0 at the top (v = 1)."""
    vertex_rgb_u8: np.ndarray | None = None
    """[N, 3] uint8 sRGB."""

    def __post_init__(self) -> None:
        expect_shape("vertices", self.vertices, (None, 3))
        expect_shape("faces", self.faces, (None, 3))

    @property
    def face_count(self) -> int:
        return len(self.faces)

    def validate(self) -> TriMesh:
        """Return self if it is well formed; raises `InputError` that names the first problem."""
        expect_finite("vertices", self.vertices)
        n, f = len(self.vertices), len(self.faces)
        if f and (self.faces.min() < 0 or self.faces.max() >= n):
            raise InputError(f"faces index {int(self.faces.min())}..{int(self.faces.max())}; expected 0..{n - 1}")
        if self.face_labels is not None:
            expect_shape("face_labels", self.face_labels, (f,))
        if self.uv is not None:
            expect_finite("uv", expect_shape("uv", self.uv, (f, 3, 2)))
        if self.vertex_rgb_u8 is not None:
            expect_shape("vertex_rgb_u8", self.vertex_rgb_u8, (n, 3))
        if self.texture_u8 is not None:
            expect_shape("texture_u8", self.texture_u8, (None, None, 3))
        return self

    def triangles(self) -> np.ndarray:
        """Corner positions, [F, 3, 3] [m]."""
        return self.vertices[self.faces]

    def face_normals(self) -> np.ndarray:
        """Unit normals [F, 3]; (0, 0, 1) for a face without area."""
        t = self.triangles()
        n = np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
        length = np.linalg.norm(n, axis=1, keepdims=True)
        return np.where(length > 1e-12, n / np.maximum(length, 1e-12), np.array([0.0, 0.0, 1.0]))

    def face_areas_m2(self) -> np.ndarray:
        t = self.triangles()
        return 0.5 * np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner, [3] each; raises `InputError` for a mesh without vertices."""
        if not len(self.vertices):
            raise InputError("mesh has no vertices, so it has no bounds")
        return self.vertices.min(0), self.vertices.max(0)

    def select_faces(self, keep: np.ndarray) -> TriMesh:
        """The faces where `keep` [F] bool is true, without unused vertices."""
        faces = self.faces[keep]
        used, inverse = np.unique(faces, return_inverse=True)
        return replace(
            self,
            vertices=self.vertices[used],
            faces=inverse.reshape(-1, 3).astype(np.int32),
            face_labels=None if self.face_labels is None else self.face_labels[keep],
            uv=None if self.uv is None else self.uv[keep],
            vertex_rgb_u8=None if self.vertex_rgb_u8 is None else self.vertex_rgb_u8[used],
        )


def concatenate_meshes(meshes: list[TriMesh]) -> TriMesh:
    """One mesh of all faces and labels; textures, uv and vertex colours are dropped."""
    vertices, faces, labels, base = [np.zeros((0, 3))], [np.zeros((0, 3), np.int32)], [np.zeros(0, np.uint8)], 0
    for mesh in meshes:
        vertices.append(mesh.vertices)
        faces.append(mesh.faces + base)
        labels.append(np.zeros(mesh.face_count, np.uint8) if mesh.face_labels is None else mesh.face_labels)
        base += len(mesh.vertices)
    return TriMesh(
        vertices=np.concatenate(vertices),
        faces=np.concatenate(faces).astype(np.int32),
        face_labels=np.concatenate(labels).astype(np.uint8),
    )
