"""Meshes of other programs, read through trimesh after everything that they promise has been checked.

Pictures are decoded after their size is known; names of other files never lead out of the file's folder; a part may be
instanced often, but all instances together are bounded.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.optional import require
from ..reconstruction.ply_file import read_header
from .gltf import MAX_FACES, check_gltf
from .records import Source
from .side_files import side_file

MAX_MESH_BYTES = 2 << 30
MAX_TEXT_BYTES = 512 << 20
"""Text takes ten times its size while it is read."""
MAX_PICTURE_PX = 64_000_000
MAX_PICTURES = 256
GREY = 0.72
"""sRGB of surfaces without any colour."""


@dataclass(frozen=True, kw_only=True)
class Paint:
    """How some faces are coloured; K of them."""

    picture_u8: np.ndarray | None
    """[H, W, 3] sRGB, repeated beyond 0..1; None for plain colours."""
    uv: np.ndarray | None
    """[K, 3, 2] into the picture, origin at the bottom left."""
    corner_rgb: np.ndarray
    """[K, 3, 3] float32 0..1 sRGB; multiplies the picture where there is one."""


@dataclass(frozen=True, kw_only=True)
class ReadMesh:
    """All triangles of a file in its own axes, parts one after another."""

    vertices: np.ndarray
    """[N, 3] float64."""
    faces: np.ndarray
    """[F, 3] int32."""
    paints: tuple[Paint, ...]
    """Of consecutive faces."""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def face_count(self) -> int:
        return len(self.faces)


def read_mesh_file(source: Source) -> ReadMesh:
    """Triangles and colours of a `.glb`, `.gltf`, `.obj` or `.ply` file.

    Raises:
        InputError: damaged, too large, or without a triangle.
        DependencyError: trimesh is missing.
    """
    trimesh = require("trimesh", extra="recon")
    path = source.path
    limit = MAX_TEXT_BYTES if source.layout == "obj" else MAX_MESH_BYTES
    if path.stat().st_size > limit:
        raise InputError(f"the mesh file has more than {limit >> 20} MiB; simplify it first: {path}")
    raw = path.read_bytes()
    if source.layout in ("glb", "gltf"):
        check_gltf(path, raw)
    elif source.layout == "ply":
        _check_ply(path)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            logging.getLogger("trimesh").setLevel(logging.CRITICAL)
            scene = trimesh.load_scene(
                io.BytesIO(raw), file_type=source.layout, resolver=_Fence(path, source), process=False
            )
            parts = _parts(trimesh, scene, path, linear=source.layout in ("glb", "gltf"))
    except InputError:
        raise
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # the reader of a damaged file may fail in any way
        raise InputError(f"the mesh cannot be read ({type(error).__name__}: {str(error)[:200]}): {path}") from error
    if not parts:
        raise InputError(f"the file holds no triangles: {path}")
    return _joined(parts, path)


class _Fence:
    """What trimesh asks for other files: gives those beside the file, and nothing else."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._known = {file.resolve() for file in source.files}

    def get(self, name: str) -> bytes:
        for quoted in (True, False):
            file = side_file(self._path, str(name), quoted=quoted)
            if file is not None and file.resolve() in self._known:
                return file.read_bytes()
        raise KeyError(name)

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def keys(self) -> list[str]:
        root = self._path.resolve().parent
        return [file.relative_to(root).as_posix() for file in self._known if file.is_relative_to(root)]

    def __contains__(self, name: object) -> bool:
        return str(name) in self.keys()

    def namespaced(self, namespace: str) -> _Fence:
        return self


def _check_ply(path: Path) -> None:
    """The header's counts against the size of the file; a face takes 13 bytes at least, in text 7."""
    with open(path, "rb") as file:
        header = read_header(file, path)
    vertex, face = header.element("vertex"), header.element("face")
    if vertex is None or face is None or not {"x", "y", "z"} <= set(vertex.names):
        raise InputError(f"the .ply file has no vertices or no faces: {path}")
    if vertex.has_lists:
        raise InputError(f"the vertices of the .ply file hold lists, which are not read: {path}")
    if any(element.count and element.name not in ("vertex", "face") for element in header.elements):
        names = [element.name for element in header.elements if element.name not in ("vertex", "face")]
        raise InputError(f"the .ply file holds '{names[0][:40]}' beside vertices and faces; save it again: {path}")
    row = sum(np.dtype(kind).itemsize for _, kind in vertex.properties) if header.order else 2 * len(vertex.properties)
    need = vertex.count * row + face.count * (4 if header.order else 7)
    have = header.file_size - header.data_start
    if need > have + 1:
        raise InputError(
            f"the file is cut off: its tables need {need} bytes at least, {max(have, 0)} are there: {path}"
        )
    if face.count > MAX_FACES:
        raise InputError(f"the file holds {face.count} faces; expected at most {MAX_FACES}, simplify it first: {path}")


@dataclass(frozen=True, kw_only=True)
class _Part:
    vertices: np.ndarray
    faces: np.ndarray
    paint: Paint


def _parts(trimesh: Any, scene: Any, path: Path, *, linear: bool) -> list[_Part]:
    """Every instance of every mesh, in the file's axes; `linear` says that plain colours are no sRGB."""
    parts: list[_Part] = []
    pictures: dict[int, np.ndarray] = {}
    total = 0
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue
        total += len(geometry.faces)
        if total > MAX_FACES:
            raise InputError(f"the file holds more than {MAX_FACES} triangles; simplify it first: {path}")
        faces = np.asarray(geometry.faces, np.int64)
        vertices = np.asarray(geometry.vertices, np.float64)
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise InputError(f"a face names vertex {faces.max()} of {len(vertices)}: {path}")
        matrix = np.asarray(transform, np.float64)
        moved = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        paint = _paint(geometry, faces, pictures, path, linear=linear)
        if np.linalg.det(matrix[:3, :3]) < 0:  # a mirrored part keeps its front
            faces = faces[:, ::-1]
            paint = Paint(
                picture_u8=paint.picture_u8,
                uv=None if paint.uv is None else paint.uv[:, ::-1],
                corner_rgb=paint.corner_rgb[:, ::-1],
            )
        parts.append(_Part(vertices=moved, faces=faces, paint=paint))
    return parts


def _paint(geometry: Any, faces: np.ndarray, pictures: dict[int, np.ndarray], path: Path, *, linear: bool) -> Paint:
    visual = geometry.visual
    count = len(faces)
    if visual.kind == "vertex":
        rgb = np.asarray(visual.vertex_colors)[:, :3].astype(np.float32) / 255
        return Paint(picture_u8=None, uv=None, corner_rgb=rgb[faces])
    if visual.kind == "face":
        rgb = np.asarray(visual.face_colors)[:, :3].astype(np.float32) / 255
        return Paint(picture_u8=None, uv=None, corner_rgb=np.repeat(rgb[:, None], 3, 1))
    if visual.kind != "texture":
        return Paint(picture_u8=None, uv=None, corner_rgb=np.full((count, 3, 3), GREY, np.float32))
    material = visual.material
    image = getattr(material, "baseColorTexture", None)
    image = getattr(material, "image", None) if image is None else image
    factor = getattr(material, "baseColorFactor", None)
    if factor is None and image is None:
        factor = getattr(material, "diffuse", None)
    plain = _factor(factor)
    if linear:
        # A power of a product is the product of the powers, so a factor may be applied to sRGB as well.
        plain = plain ** (1 / 2.2)
    corner_rgb = np.broadcast_to(plain, (count, 3, 3))
    colours = (visual.vertex_attributes or {}).get("color") if hasattr(visual, "vertex_attributes") else None
    if colours is not None and len(colours) == len(geometry.vertices):
        corner_rgb = corner_rgb * np.clip(np.asarray(colours, np.float32)[:, :3] / 255, 0, 1)[faces]
    uv = None if visual.uv is None else np.asarray(visual.uv, np.float64)
    if image is None or uv is None or uv.shape != (len(geometry.vertices), 2):
        return Paint(picture_u8=None, uv=None, corner_rgb=np.ascontiguousarray(corner_rgb, np.float32))
    if id(image) not in pictures:
        if len(pictures) >= MAX_PICTURES:
            raise InputError(f"the file holds more than {MAX_PICTURES} pictures: {path}")
        pictures[id(image)] = _decoded(image, path)
    uv = np.where(np.isfinite(uv), np.clip(uv, -1e4, 1e4), 0.0)
    return Paint(picture_u8=pictures[id(image)], uv=uv[faces], corner_rgb=np.ascontiguousarray(corner_rgb, np.float32))


def _factor(value: Any) -> np.ndarray:
    """A material's colour as sRGB 0..1; trimesh hands out bytes or numbers of 0..1."""
    if value is None:
        return np.ones(3, np.float32)
    plain = np.asarray(value)
    rgb = plain.reshape(-1)[:3].astype(np.float32)
    if len(rgb) < 3 or not np.isfinite(rgb).all():
        return np.ones(3, np.float32)
    return np.clip(rgb / 255 if plain.dtype.kind in "ui" else rgb, 0, 1)


def _decoded(image: Any, path: Path) -> np.ndarray:
    """Pixels of a picture whose header has been read; alpha is put over grey."""
    width, height = image.size
    if not 0 < width * height <= MAX_PICTURE_PX:
        raise InputError(
            f"a picture of the file has {width} x {height} pixels; expected {MAX_PICTURE_PX} at most: {path}"
        )
    try:
        return np.asarray(image.convert("RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"a picture of the file is damaged ({error}): {path}") from error


def _joined(parts: list[_Part], path: Path) -> ReadMesh:
    base, faces, broken = 0, [], 0
    paints = []
    for part in parts:
        # A face with a corner that is no place cannot be kept.
        whole = np.isfinite(part.vertices[part.faces]).all((1, 2))
        broken += int((~whole).sum())
        faces.append((part.faces[whole] + base).astype(np.int32))
        paint = part.paint
        paints.append(
            Paint(
                picture_u8=paint.picture_u8,
                uv=None if paint.uv is None else paint.uv[whole],
                corner_rgb=paint.corner_rgb[whole],
            )
        )
        base += len(part.vertices)
    vertices = np.concatenate([part.vertices for part in parts])
    joined = np.concatenate(faces)
    if len(joined) < 0.5 * (len(joined) + broken):
        raise InputError(f"{broken} of {len(joined) + broken} triangles have no finite corners: {path}")
    vertices = np.where(np.isfinite(vertices), vertices, 0.0)
    if np.abs(vertices).max() > 1e9:
        raise InputError(f"the mesh reaches {np.abs(vertices).max():.3g} units from the origin: {path}")
    pictures = {id(p.picture_u8) for p in paints if p.picture_u8 is not None}
    notes = {"parts": len(parts), "triangles": len(joined), "pictures": len(pictures), "broken_triangles": broken}
    return ReadMesh(vertices=vertices, faces=joined, paints=tuple(paints), notes=notes)
