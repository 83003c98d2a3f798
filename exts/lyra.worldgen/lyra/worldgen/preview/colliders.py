"""The collision geometry of a finished stage as triangles, and its edges drawn over a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.mesh import TriMesh
from ..core.optional import require
from .raster import MeshRasteriser

EDGE_RGB = np.array([64, 224, 255])
_CUBE = np.array([[x, y, z] for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
_QUADS = np.array([[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]])


@dataclass(frozen=True, kw_only=True)
class ColliderMesh:
    """All colliders but endless planes."""

    mesh: TriMesh
    side: np.ndarray
    """[F] int32: faces of one number form one flat side, so no edge is drawn between them."""
    boxes: int
    """How many colliders are boxes."""


def read_colliders(scene: Path) -> ColliderMesh:
    """Cubes and meshes with a collision API of a USD stage, in world coordinates.

    Raises:
        DependencyError: usd-core is missing.
        InputError: the stage cannot be opened or holds no collider.
    """
    Usd = require("pxr.Usd", extra="sim", package="usd-core")
    UsdGeom = require("pxr.UsdGeom", extra="sim", package="usd-core")
    UsdPhysics = require("pxr.UsdPhysics", extra="sim", package="usd-core")
    Tf = require("pxr.Tf", extra="sim", package="usd-core")
    try:
        stage = Usd.Stage.Open(str(scene))
    except Tf.ErrorException as error:
        raise InputError(f"stage cannot be opened ({str(error).splitlines()[0]}): {scene}") from error
    vertices, faces, sides = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    base, next_side, boxes = 0, 0, 0
    transforms = UsdGeom.XformCache()
    for prim in stage.Traverse():
        if not prim.HasAPI(UsdPhysics.CollisionAPI):
            continue
        if prim.IsA(UsdGeom.Cube):
            points = _CUBE * float(UsdGeom.Cube(prim).GetSizeAttr().Get())
            triangles = np.concatenate([_QUADS[:, [0, 1, 2]], _QUADS[:, [0, 2, 3]]])
            side = np.tile(np.arange(6), 2)
            boxes += 1
        elif prim.IsA(UsdGeom.Mesh):
            mesh = UsdGeom.Mesh(prim)
            points = np.array(mesh.GetPointsAttr().Get() or [], float).reshape(-1, 3)
            counts = np.array(mesh.GetFaceVertexCountsAttr().Get() or [], int)
            if not len(counts) or (counts != 3).any():
                continue  # our colliders are triangles; foreign polygons are not worth a triangulator here
            triangles = np.array(mesh.GetFaceVertexIndicesAttr().Get(), int).reshape(-1, 3)
            side = np.arange(len(triangles))
        else:
            continue
        # USD stores row vectors.
        T = np.array(transforms.GetLocalToWorldTransform(prim)).T
        vertices.append(points @ T[:3, :3].T + T[:3, 3])
        faces.append(triangles + base)
        sides.append(side + next_side)
        base += len(points)
        next_side += int(side.max()) + 1
    mesh = TriMesh(vertices=np.concatenate(vertices), faces=np.concatenate(faces).astype(np.int32))
    if not mesh.face_count:
        raise InputError(f"stage holds no collider made of boxes or triangles: {scene}")
    return ColliderMesh(mesh=mesh.validate(), side=np.concatenate(sides).astype(np.int32), boxes=boxes)


def draw_wireframe(
    colliders: ColliderMesh, camera: PinholeCamera, T_world_cam: np.ndarray, backdrop_u8: np.ndarray
) -> np.ndarray:
    """[H, W, 3] uint8: edges of the nearest colliders over a dimmed picture [H, W, 3] of the same camera."""
    h, w = camera.height_px, camera.width_px
    face = MeshRasteriser(colliders.mesh).render(camera.resized(2 * w, 2 * h), T_world_cam).face
    side = np.where(face >= 0, colliders.side[face], -1)
    edge = np.zeros(side.shape, bool)
    edge[:, :-1] |= side[:, :-1] != side[:, 1:]
    edge[:-1] |= side[:-1] != side[1:]
    share = edge.reshape(h, 2, w, 2).mean((1, 3))[..., None]
    amount = np.clip(1.6 * share, 0, 1)
    grey = backdrop_u8.mean(-1, keepdims=True)
    dim = 0.45 * (0.5 * backdrop_u8 + 0.5 * grey)
    return (dim * (1 - amount) + EDGE_RGB * amount).astype(np.uint8)
