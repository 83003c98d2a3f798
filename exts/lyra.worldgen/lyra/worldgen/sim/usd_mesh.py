"""Writes the visual mesh: one prim per label so that segmentation works, one material with the baked texture."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.mesh_levels import MeshLevel
from .usd_stage import PART_NAMES, new_stage, save_stage

if TYPE_CHECKING:
    from pxr import Usd, UsdShade

JPEG_QUALITY = 95
FULL = "full"
"""Name of the variant that certificates and tasks read."""


def write_visual(path: Path, mesh: TriMesh, levels: Sequence[MeshLevel] = ()) -> list[str]:
    """`payloads/visual.usdc` and, for a textured mesh, `textures/albedo.jpg` beside it.

    With coarser copies, `/World/Visual` has a variant set `lod`: `full`, which is chosen, `lod1`, `lod2` and so on.

    Args:
        path: target layer.
        mesh: triangles in the world frame; labels, uv with texture, and vertex colours are each optional.
        levels: coarser copies, finest first.

    Returns:
        Prim paths of the full mesh's parts, in label order.
    """
    from pxr import UsdGeom

    stage = new_stage()
    visual = UsdGeom.Xform.Define(stage, "/World/Visual").GetPrim()
    textured = mesh.uv is not None and mesh.texture_u8 is not None
    if textured:
        assert mesh.texture_u8 is not None
        write_jpeg(path.parent / "textures" / "albedo.jpg", mesh.texture_u8)
    material = define_material(stage, "/World/Looks/world", "./textures/albedo.jpg" if textured else None)
    paths: list[str] = []
    if not levels:
        paths = _define_parts(stage, mesh, material)
    else:
        variants = visual.GetVariantSets().AddVariantSet("lod")
        errors = {FULL: 0.0} | {f"lod{number}": level.error_m for number, level in enumerate(levels, 1)}
        for name, copy in zip(errors, (mesh, *(level.mesh for level in levels)), strict=True):
            variants.AddVariant(name)
            variants.SetVariantSelection(name)
            with variants.GetVariantEditContext():
                parts = _define_parts(stage, copy, material)
            paths = parts if name == FULL else paths
        variants.SetVariantSelection(FULL)
        visual.SetCustomDataByKey("lyra:lod_error_m", errors)
    save_stage(stage, path)
    return paths


def _define_parts(stage: Usd.Stage, mesh: TriMesh, material: UsdShade.Material) -> list[str]:
    """One prim for each label; their paths in label order."""
    from pxr import UsdSemantics, UsdShade

    labels = np.zeros(mesh.face_count, np.uint8) if mesh.face_labels is None else mesh.face_labels
    paths = []
    for label in (int(x) for x in np.unique(labels)):
        name = PART_NAMES.get(Label(label), "unknown") if label in set(Label) else "unknown"
        prim_path = f"/World/Visual/{name}"
        part = define_mesh(stage, prim_path, mesh.select_faces(labels == label))
        part.CreateDoubleSidedAttr(True)
        UsdShade.MaterialBindingAPI.Apply(part.GetPrim()).Bind(material)
        UsdSemantics.LabelsAPI.Apply(part.GetPrim(), "class").CreateLabelsAttr([name])
        paths.append(prim_path)
    return paths


def define_mesh(stage: Usd.Stage, prim_path: str, mesh: TriMesh) -> Any:
    """A UsdGeom.Mesh with extent, unit normals and, if the mesh has them, indexed `st` and `displayColor`.

    Vertices are split where faces meet at an angle, so a box keeps its edges and a fused surface stays smooth.
    """
    from pxr import Gf, Sdf, UsdGeom, Vt

    vertices, faces, normals, origin = _split_at_edges(mesh)
    prim = UsdGeom.Mesh.Define(stage, prim_path)
    prim.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(vertices))
    prim.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel()))
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    prim.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(normals))
    prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    low, high = vertices.min(0), vertices.max(0)
    prim.CreateExtentAttr([Gf.Vec3f(*(float(x) for x in low)), Gf.Vec3f(*(float(x) for x in high))])
    primvars = UsdGeom.PrimvarsAPI(prim)
    if mesh.uv is not None and mesh.texture_u8 is not None:
        unique, index = np.unique(mesh.uv.reshape(-1, 2).astype(np.float32), axis=0, return_inverse=True)
        st = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
        st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(unique)))
        st.SetIndices(Vt.IntArray.FromNumpy(np.ascontiguousarray(index.reshape(-1), np.int32)))
    elif mesh.vertex_rgb_u8 is not None:
        colour = primvars.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex)
        linear = (mesh.vertex_rgb_u8[origin].astype(np.float32) / 255.0) ** 2.2
        colour.Set(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(linear, np.float32)))
    return prim


def write_jpeg(path: Path, rgb_u8: np.ndarray) -> None:
    """Encode [H, W, 3] without metadata and replace `path`."""
    _write_image(path, rgb_u8, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def write_png(path: Path, pixels_u8: np.ndarray) -> None:
    """Encode [H, W] or [H, W, 3] without metadata and replace `path`."""
    _write_image(path, pixels_u8, "PNG", compress_level=6)


def _write_image(path: Path, pixels_u8: np.ndarray, form: str, **options: Any) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_u8)).save(buffer, form, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(buffer.getvalue())
    os.replace(partial, path)


def _split_at_edges(mesh: TriMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [M, 3] float32, faces [F, 3] int32, normals [M, 3] float32 and the old index of every vertex [M]."""
    triangles = mesh.triangles()
    weighted = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    # Corners of one vertex stay together while their faces point into the same of 26 coarse directions.
    sector = np.round(mesh.face_normals() * 1.2).astype(np.int64) @ np.array([9, 3, 1]) + 13
    key = mesh.faces.astype(np.int64) * 27 + sector[:, None]
    unique, inverse = np.unique(key, return_inverse=True)
    inverse = inverse.reshape(-1, 3)
    normals = np.zeros((len(unique), 3))
    for corner in range(3):
        np.add.at(normals, inverse[:, corner], weighted)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 1e-12, normals / np.maximum(length, 1e-12), [0.0, 0.0, 1.0])
    origin = unique // 27
    vertices = np.ascontiguousarray(mesh.vertices[origin], np.float32)
    return vertices, np.ascontiguousarray(inverse, np.int32), np.ascontiguousarray(normals, np.float32), origin


def define_material(stage: Usd.Stage, path: str, texture: str | None) -> UsdShade.Material:
    """UsdPreviewSurface, fully rough; colour from the texture or from `displayColor`."""
    from pxr import Sdf, UsdGeom, UsdShade

    types = Sdf.ValueTypeNames
    UsdGeom.Scope.Define(stage, path.rpartition("/")[0])
    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, f"{path}/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", types.Float).Set(0.9)
    surface.CreateInput("metallic", types.Float).Set(0.0)
    diffuse = surface.CreateInput("diffuseColor", types.Color3f)
    if texture is None:
        reader = UsdShade.Shader.Define(stage, f"{path}/color")
        reader.CreateIdAttr("UsdPrimvarReader_float3")
        reader.CreateInput("varname", types.String).Set("displayColor")
        reader.CreateInput("fallback", types.Float3).Set((0.5, 0.5, 0.5))
        diffuse.ConnectToSource(reader.CreateOutput("result", types.Float3))
    else:
        reader = UsdShade.Shader.Define(stage, f"{path}/st")
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", types.String).Set("st")
        image = UsdShade.Shader.Define(stage, f"{path}/albedo")
        image.CreateIdAttr("UsdUVTexture")
        image.CreateInput("file", types.Asset).Set(texture)
        image.CreateInput("sourceColorSpace", types.Token).Set("sRGB")
        for wrap in ("wrapS", "wrapT"):
            image.CreateInput(wrap, types.Token).Set("clamp")
        image.CreateInput("st", types.Float2).ConnectToSource(reader.CreateOutput("result", types.Float2))
        diffuse.ConnectToSource(image.CreateOutput("rgb", types.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    return material
