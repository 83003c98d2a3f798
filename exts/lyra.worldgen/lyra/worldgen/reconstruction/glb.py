"""The textured mesh as one portable `.glb` file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.files import write_bytes
from ..core.mesh import Label, TriMesh
from ..core.optional import require

JPEG_QUALITY = 92
LEVEL_SUFFIX = "_lod"
COVERAGE = 0.25
"""Share of the screen's height from which a node shows its finest copy; every coarser one begins at a quarter of it."""


def write_mesh_glb(path: Path, mesh: TriMesh, levels: Sequence[TriMesh] = ()) -> None:
    """Write a textured mesh as binary glTF: Y up, metres, unlit, the texture inside as JPEG, one mesh per label.

    Args:
        path: target.
        mesh: what every viewer shows.
        levels: coarser copies with the same texture, finest first, for viewers that know the extension MSFT_lod.

    Raises:
        InputError: the mesh has no faces or no texture, or the file cannot be written.
    """
    if not mesh.face_count or mesh.uv is None or mesh.texture_u8 is None:
        raise InputError(f"mesh has no faces or no texture; bake a texture before writing it: {path}")
    mesh.validate()
    trimesh = require("trimesh", extra="recon")
    image = _jpeg(mesh.texture_u8)
    material = trimesh.visual.material.PBRMaterial(
        name="baked", baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    scene = trimesh.Scene()
    for number, copy in enumerate((mesh, *levels)):
        labels = np.zeros(copy.face_count, np.uint8) if copy.face_labels is None else copy.face_labels
        for label in np.unique(labels).tolist():
            chosen = np.flatnonzero(labels == label)
            name = Label(label).name.lower() if label in set(Label) else f"label_{label}"
            name = f"{name}{LEVEL_SUFFIX}{number}" if number else name
            scene.add_geometry(_part(trimesh, copy, chosen, material), node_name=name, geom_name=name)
    data = trimesh.exchange.gltf.export_glb(scene, include_normals=True, tree_postprocessor=_finished)
    write_bytes(path, data)


def write_shape_glb(path: Path, mesh: TriMesh) -> None:
    """Write nothing but the triangles of a mesh as binary glTF: Y up, metres, float32, one vertex a position.

    Raises:
        InputError: the mesh has no faces, or the file cannot be written.
    """
    if not mesh.face_count:
        raise InputError(f"mesh has no faces: {path}")
    mesh.validate()
    trimesh = require("trimesh", extra="recon")
    vertices, inverse = np.unique(_y_up(mesh.vertices).astype(np.float32), axis=0, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces]
    scene = trimesh.Scene(trimesh.Trimesh(vertices=vertices, faces=faces, process=False))
    write_bytes(path, trimesh.exchange.gltf.export_glb(scene, include_normals=False))


def _part(trimesh: Any, mesh: TriMesh, chosen: np.ndarray, material: Any) -> Any:
    """Faces of one label with one vertex per distinct position, texture coordinate and face normal."""
    assert mesh.uv is not None
    corners = mesh.faces[chosen].reshape(-1)
    normals = np.repeat(mesh.face_normals()[chosen], 3, 0)
    uv = mesh.uv[chosen].reshape(-1, 2)
    key = np.column_stack([corners, np.round(uv * 1e6), np.round(normals * 1e3)]).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    positions = mesh.vertices[corners[first]]
    return trimesh.Trimesh(
        vertices=_y_up(positions),
        faces=inverse.reshape(-1, 3),
        vertex_normals=_y_up(normals[first]),
        visual=trimesh.visual.TextureVisuals(uv=uv[first], material=material),
        process=False,
    )


def _y_up(xyz: np.ndarray) -> np.ndarray:
    """World (Z up) to glTF (Y up)."""
    return np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], -1)


def _jpeg(texture_u8: np.ndarray) -> Any:
    """A picture that trimesh embeds as the JPEG that it already is."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(texture_u8).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    buffer.seek(0)
    image = Image.open(buffer)
    image.load()
    # trimesh would encode it a second time with Pillow's default quality.
    setattr(image, "save", lambda file, format=None: file.write(buffer.getvalue()))  # noqa: B010
    return image


def _finished(tree: dict[str, Any]) -> None:
    """The photo's light is in the texture already; viewers that know the extension add none. Coarser copies hang on
    the nodes that they stand for and in no scene, so viewers that do not know them show the full mesh only."""
    _hang_levels(tree)
    for material in tree.get("materials", []):
        material["extensions"] = {"KHR_materials_unlit": {}}
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), "KHR_materials_unlit"})


def _hang_levels(tree: dict[str, Any]) -> None:
    """Take nodes named like `floor_lod1` out of the scene and list them at the node `floor` (MSFT_lod)."""
    nodes = tree.get("nodes", [])
    number_of = {node.get("name"): i for i, node in enumerate(nodes)}
    levels: dict[int, list[int]] = {}
    for name in sorted(name for name in number_of if name and LEVEL_SUFFIX in name):
        owner = number_of.get(name.rpartition(LEVEL_SUFFIX)[0])
        if owner is not None:
            levels.setdefault(owner, []).append(number_of[name])
    hung = {i for found in levels.values() for i in found}
    if not hung:
        return
    for node in nodes:
        if "children" in node:
            node["children"] = [i for i in node["children"] if i not in hung]
    for scene in tree.get("scenes", []):
        scene["nodes"] = [i for i in scene.get("nodes", []) if i not in hung]
    for owner, found in levels.items():
        nodes[owner].setdefault("extensions", {})["MSFT_lod"] = {"ids": found}
        # The last number is where a node is not drawn at all.
        nodes[owner].setdefault("extras", {})["MSFT_screencoverage"] = [
            *(COVERAGE / 4**k for k in range(len(found))),
            0.0,
        ]
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), "MSFT_lod"})
