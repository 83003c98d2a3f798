"""Reads back what USD layers hold: visible triangles, colliders and splats, in metres and with +Z up.

A layer that states other units or another up axis is converted by what it states, as a simulator that reads it would.
Edits of colours that a layer states (`COLOUR_GAIN`, `COLOUR_OFFSET`) are applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.colour import ColourEdit, display_gain
from ..core.errors import InputError
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.splats import GaussianCloud, join_splats, transform_splats
from .usd_stage import PART_NAMES

if TYPE_CHECKING:
    from pxr import Usd

COLOUR_GAIN, COLOUR_OFFSET = "lyra:colour:gain", "lyra:colour:offset"
"""Attributes of /World/Visual and /World/Splats: a `ColourEdit` of what is below."""
VISUAL, SPLATS = "/World/Visual", "/World/Splats"
_CUBE = np.array([[x, y, z] for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
_QUADS = np.array([[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]])
_LABEL_OF = {name: label for label, name in PART_NAMES.items()}
_Z_FROM_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True, kw_only=True)
class ColliderMesh:
    """All colliders but endless planes."""

    mesh: TriMesh
    """Labels come from the prims' names; what they do not tell is an object."""
    side: np.ndarray
    """[F] int32: faces of one number form one flat side, so no edge is drawn between them."""
    boxes: int
    """How many colliders are boxes."""


def read_colliders(path: Path) -> ColliderMesh:
    """Cubes and meshes with a collision API of a USD stage or payload, in world coordinates.

    Raises:
        DependencyError: usd-core is missing.
        InputError: the stage cannot be opened or holds no collider.
    """
    UsdGeom = require("pxr.UsdGeom", extra="sim", package="usd-core")
    UsdPhysics = require("pxr.UsdPhysics", extra="sim", package="usd-core")
    stage = _open(path)
    parts, sides, next_side, boxes = _Parts(), [np.zeros(0, np.int64)], 0, 0
    for prim, T in _placed(stage):
        if not prim.HasAPI(UsdPhysics.CollisionAPI):
            continue
        if prim.IsA(UsdGeom.Cube):
            points = _CUBE * float(UsdGeom.Cube(prim).GetSizeAttr().Get())
            triangles = np.concatenate([_QUADS[:, [0, 1, 2]], _QUADS[:, [0, 2, 3]]])
            side = np.tile(np.arange(6), 2)
            boxes += 1
        elif prim.IsA(UsdGeom.Mesh):
            points, triangles, side = _mesh_arrays(prim)
        else:
            continue
        if not len(triangles):
            continue
        parts.add(points, triangles, T, _LABEL_OF.get(prim.GetName().partition("_")[0], Label.OBJECT))
        sides.append(side + next_side)
        next_side += int(side.max()) + 1
    mesh = parts.mesh()
    if not mesh.face_count:
        raise InputError(f"stage holds no collider made of boxes or triangles: {path}")
    return ColliderMesh(mesh=mesh.validate(), side=np.concatenate(sides).astype(np.int32), boxes=boxes)


def read_visual(path: Path, *, texture: bool = True) -> TriMesh:
    """Meshes below `/World/Visual` with their labels, and with texture where all of them have coordinates for it.

    Args:
        path: `payloads/visual.usdc` or a stage that composes it.
        texture: whether the picture is read; without it there are no texture coordinates either.

    Raises:
        DependencyError: usd-core is missing.
        InputError: the stage cannot be opened, holds no mesh, or its picture cannot be read.
    """
    UsdGeom = require("pxr.UsdGeom", extra="sim", package="usd-core")
    stage = _open(path)
    parts, corners = _Parts(), []
    for prim, T in _placed(stage):
        if not prim.IsA(UsdGeom.Mesh) or not str(prim.GetPath()).startswith(VISUAL):
            continue
        points, triangles, face = _mesh_arrays(prim)
        if not len(triangles):
            continue
        parts.add(points, triangles, T, _LABEL_OF.get(prim.GetName(), Label.UNKNOWN))
        st = UsdGeom.PrimvarsAPI(prim).GetPrimvar("st")
        flat = np.array(st.ComputeFlattened() or [], np.float32).reshape(-1, 2) if st else np.zeros((0, 2), np.float32)
        per_corner = len(flat) == 3 * len(triangles) and len(np.unique(face)) == len(face)
        corners.append(_wound(flat.reshape(-1, 3, 2), T) if per_corner else None)
    mesh = parts.mesh()
    if not mesh.face_count:
        raise InputError(f"stage holds no mesh below /World/Visual: {path}")
    picture = _texture_path(stage, path) if texture and all(c is not None for c in corners) else None
    if picture is not None:
        uv = np.concatenate([c for c in corners if c is not None])
        mesh = TriMesh(
            vertices=mesh.vertices,
            faces=mesh.faces,
            face_labels=mesh.face_labels,
            uv=uv,
            texture_u8=_visual_edit(stage).of_picture(_read_picture(picture)),
        )
    return mesh.validate()


def read_splats_usd(path: Path) -> GaussianCloud:
    """All splats of a stage or payload; those of a prim named `sky` have that label, where there is one.

    Attributes are read by name, so any OpenUSD will do, with the schema or without.

    Raises:
        DependencyError: usd-core is missing.
        InputError: the stage cannot be opened, holds no splats, or its arrays do not fit together.
    """
    stage = _open(path)
    fields = [(prim, T) for prim, T in _placed(stage) if prim.GetTypeName() == "ParticleField3DGaussianSplat"]
    clouds = [_read_field(prim, T, path) for prim, T in fields]
    clouds = [cloud for cloud in clouds if len(cloud)]
    if not clouds:
        raise InputError(f"stage holds no Gaussian splats: {path}")
    return read_colour_edit(stage, SPLATS).of_splats(clouds[0] if len(clouds) == 1 else join_splats(clouds))


def read_colour_edit(stage: Usd.Stage, prim_path: str) -> ColourEdit:
    """What a prim states about the colours below it; raises `InputError` for values that make no sense."""
    prim = stage.GetPrimAtPath(prim_path)

    def stated(name: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        attribute = prim.GetAttribute(name) if prim else None
        value = attribute.Get() if attribute else None
        if value is None:
            return default
        numbers = np.array(value, float).reshape(-1)
        if numbers.shape != (3,) or not (np.isfinite(numbers).all() and np.abs(numbers).max() <= 100):
            raise InputError(f"{name} of {prim_path} is {str(value)[:60]}; expected three numbers of at most 100")
        return float(numbers[0]), float(numbers[1]), float(numbers[2])

    return ColourEdit(gain=stated(COLOUR_GAIN, (1.0, 1.0, 1.0)), offset=stated(COLOUR_OFFSET, (0.0, 0.0, 0.0)))


def _visual_edit(stage: Usd.Stage) -> ColourEdit:
    """What the stage states about the colours of the mesh, the factor of its texture included."""
    edit = read_colour_edit(stage, VISUAL)
    for prim in stage.Traverse():
        if prim.GetTypeName() == "Shader" and prim.GetAttribute("info:id").Get() == "UsdUVTexture":
            factor = prim.GetAttribute("inputs:scale").Get()
            if factor is not None:
                # A factor of reflected light.
                tint = display_gain(np.clip(np.array(factor, float)[:3], 0, 100)) * edit.gain
                return ColourEdit(gain=(float(tint[0]), float(tint[1]), float(tint[2])), offset=edit.offset)
            break
    return edit


def _read_field(prim: Any, T: np.ndarray, path: Path) -> GaussianCloud:
    """The splats of one prim, placed by T [4, 4]."""

    def array(name: str, width: int) -> np.ndarray:
        value = prim.GetAttribute(name).Get()
        return np.array([] if value is None else value, np.float32).reshape(-1, width)

    means = array("positions", 3)
    quats = array("orientations", 4)[:, [3, 0, 1, 2]]  # Vt keeps the imaginary part first
    sh = array("radiance:sphericalHarmonicsCoefficients", 3)
    if len(sh) % max(len(means), 1) or (len(sh) > 0) != (len(means) > 0):
        raise InputError(f"splats have {len(means)} positions and {len(sh)} coefficients: {path}")
    tiny = np.finfo(np.float32).eps
    cloud = GaussianCloud(
        means=means,
        scales_m=array("scales", 3),
        quats_wxyz=quats,
        opacities=np.clip(array("opacities", 1)[:, 0], tiny, 1 - tiny),
        sh=sh.reshape(len(means), -1 if len(means) else 1, 3),
        labels=np.full(len(means), Label.SKY, np.uint8) if prim.GetName() == PART_NAMES[Label.SKY] else None,
    ).validate()
    return cloud if np.allclose(T, np.eye(4), atol=1e-12) else transform_splats(T, cloud)


class _Parts:
    """Triangles that are collected prim by prim."""

    def __init__(self) -> None:
        self._vertices, self._faces, self._labels = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], []
        self._count = 0

    def add(self, points: np.ndarray, triangles: np.ndarray, T: np.ndarray, label: Label) -> None:
        self._vertices.append(points @ T[:3, :3].T + T[:3, 3])
        self._faces.append(_wound(triangles, T) + self._count)
        self._labels.append(np.full(len(triangles), label, np.uint8))
        self._count += len(points)

    def mesh(self) -> TriMesh:
        return TriMesh(
            vertices=np.concatenate(self._vertices),
            faces=np.concatenate(self._faces).astype(np.int32),
            face_labels=np.concatenate([np.zeros(0, np.uint8), *self._labels]),
        )


def _wound(corners: np.ndarray, T: np.ndarray) -> np.ndarray:
    """What belongs to the corners of triangles [F, 3, ...], in the order that keeps the outside out once placed by T.

    A mirrored placement turns faces inside out.
    """
    return corners if np.linalg.det(T[:3, :3]) > 0 else corners[:, ::-1]


def _open(path: Path) -> Usd.Stage:
    Usd = require("pxr.Usd", extra="sim", package="usd-core")
    Tf = require("pxr.Tf", extra="sim", package="usd-core")
    try:
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise InputError(f"stage cannot be opened ({str(error).splitlines()[0]}): {path}") from error
    # USD goes on without a layer that is missing, and would show other colours or things than the stage states.
    for error in stage.GetCompositionErrors() if hasattr(stage, "GetCompositionErrors") else ():
        if type(error).__name__ == "ErrorInvalidSublayerPath":
            raise InputError(f"a layer of the stage is missing ({str(error).partition(' of layer ')[0]}): {path}")
    return stage


def _placed(stage: Usd.Stage) -> Iterator[tuple[Usd.Prim, np.ndarray]]:
    """Every prim with the matrix [4, 4] that takes its points to our world: its placement, then units and up axis."""
    UsdGeom = require("pxr.UsdGeom", extra="sim", package="usd-core")
    metres = float(UsdGeom.GetStageMetersPerUnit(stage))
    T_world_stage = np.diag([metres, metres, metres, 1.0])
    if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.y:
        T_world_stage = _Z_FROM_Y_UP @ T_world_stage
    transforms = UsdGeom.XformCache()
    for prim in stage.Traverse():
        # USD stores row vectors.
        yield prim, T_world_stage @ np.array(transforms.GetLocalToWorldTransform(prim)).T


def _mesh_arrays(prim: Usd.Prim) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [N, 3], triangles [F, 3] and the polygon that each triangle is part of [F]; polygons become fans.

    Nothing comes back of a mesh whose arrays do not fit together.
    """
    UsdGeom = require("pxr.UsdGeom", extra="sim", package="usd-core")
    mesh = UsdGeom.Mesh(prim)
    points = np.array(mesh.GetPointsAttr().Get() or [], float).reshape(-1, 3)
    counts = np.array(mesh.GetFaceVertexCountsAttr().Get() or [], np.int64)
    index = np.array(mesh.GetFaceVertexIndicesAttr().Get() or [], np.int64)
    nothing = np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    if not len(counts) or counts.min() < 3 or counts.sum() != len(index) or index.min() < 0:
        return nothing
    if index.max() >= len(points):
        return nothing
    fans = counts - 2
    face = np.repeat(np.arange(len(counts)), fans)
    first = np.repeat(np.cumsum(counts) - counts, fans)
    step = np.arange(len(face)) - np.repeat(np.cumsum(fans) - fans, fans)
    return points, np.stack([index[first], index[first + step + 1], index[first + step + 2]], -1), face


def _texture_path(stage: Usd.Stage, path: Path) -> Path | None:
    """The picture of the first texture shader."""
    for prim in stage.Traverse():
        if prim.GetTypeName() == "Shader" and prim.GetAttribute("info:id").Get() == "UsdUVTexture":
            asset = prim.GetAttribute("inputs:file").Get()
            if asset is not None:
                return Path(asset.resolvedPath) if asset.resolvedPath else path.parent / asset.path
    return None


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"picture cannot be read ({error}): {path}") from error
