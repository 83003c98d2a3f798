"""The mirror image of colliders, without a transform that mirrors: not every engine takes one.

Boxes are their own mirror images, so only their pose changes; triangles are written anew, their corners in reverse
order.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.mesh import TriMesh
from ..core.optional import require

if TYPE_CHECKING:
    from pxr import Usd

FLIP = np.array([1.0, -1.0, 1.0])
"""y becomes -y."""
_BOX_OPS = ["xformOp:transform", "xformOp:scale"]


def mirrored_mesh(mesh: TriMesh) -> TriMesh:
    """The mirror image of a mesh, faces still outward."""
    return TriMesh(
        vertices=mesh.vertices * FLIP,
        faces=np.ascontiguousarray(mesh.faces[:, ::-1]),
        face_labels=mesh.face_labels,
        uv=None if mesh.uv is None else np.ascontiguousarray(mesh.uv[:, ::-1]),
        texture_u8=mesh.texture_u8,
        vertex_rgb_u8=mesh.vertex_rgb_u8,
    )


def mirrored_matrix(matrix: Any) -> Any:
    """The mirror image of a pose, as USD stores it: a turn stays a turn."""
    from pxr import Gf

    both = np.ones((4, 4))
    both[1] *= -1.0
    both[:, 1] *= -1.0
    return Gf.Matrix4d(*(np.array(matrix) * both + 0.0).ravel().tolist())


def can_mirror(payload: Path) -> bool:
    """Whether `mirror_colliders` knows every collider of a payload."""
    source = _open(payload)
    return all(_kind(prim) for prim in _colliders(source))


def mirror_colliders(stage: Usd.Stage, payload: Path) -> None:
    """State on a stage that lies over a payload of colliders that they are mirrored.

    Args:
        stage: gets an over for each collider.
        payload: the base's; `can_mirror` holds.
    """
    from pxr import Gf, UsdGeom, Vt

    source = _open(payload)  # kept until the end: prims die with their stage
    for prim in _colliders(source):
        if _kind(prim) == "box":
            box = UsdGeom.Xformable(stage.OverridePrim(prim.GetPath()))
            pose = prim.GetAttribute("xformOp:transform").Get()
            box.GetPrim().CreateAttribute(
                "xformOp:transform", prim.GetAttribute("xformOp:transform").GetTypeName(), False
            ).Set(mirrored_matrix(pose))
            continue
        theirs, mine = UsdGeom.Mesh(prim), UsdGeom.Mesh(stage.OverridePrim(prim.GetPath()))
        points = np.array(theirs.GetPointsAttr().Get(), np.float32) * FLIP.astype(np.float32)
        mine.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(points)))
        triangles = np.array(theirs.GetFaceVertexIndicesAttr().Get(), np.int32).reshape(-1, 3)
        mine.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(triangles[:, ::-1]).ravel()))
        normals = theirs.GetNormalsAttr().Get()
        if normals is not None:
            flipped = np.array(normals, np.float32) * FLIP.astype(np.float32)
            mine.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(flipped)))
        mine.CreateExtentAttr([Gf.Vec3f(*map(float, points.min(0))), Gf.Vec3f(*map(float, points.max(0)))])


def _open(payload: Path) -> Usd.Stage:
    return require("pxr.Usd", extra="sim", package="usd-core").Stage.Open(str(payload))


def _colliders(stage: Usd.Stage) -> list[Any]:
    UsdPhysics = require("pxr.UsdPhysics", extra="sim", package="usd-core")
    return [prim for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.CollisionAPI)]


def _kind(prim: Any) -> str:
    """`box` or `triangles`; empty for what is written in another way than this project writes it."""
    from pxr import UsdGeom

    parent_moved = bool(UsdGeom.Xformable(prim.GetParent()).GetOrderedXformOps())
    ops = [str(op.GetOpName()) for op in UsdGeom.Xformable(prim).GetOrderedXformOps()]
    if parent_moved:
        return ""
    if prim.IsA(UsdGeom.Cube):
        return "box" if ops == _BOX_OPS else ""
    if not prim.IsA(UsdGeom.Mesh) or ops:
        return ""
    mesh = UsdGeom.Mesh(prim)
    counts = np.array(mesh.GetFaceVertexCountsAttr().Get() or [])
    whole = (counts == 3).all() and mesh.GetNormalsInterpolation() == UsdGeom.Tokens.vertex
    return "triangles" if whole else ""
