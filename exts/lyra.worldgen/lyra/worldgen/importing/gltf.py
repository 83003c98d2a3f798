"""glTF 2.0, guarded: everything that its JSON promises is compared with the bytes that are there before it is read."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .side_files import MAX_SIDE_FILES, side_file

MAX_JSON_BYTES = 64 * 2**20
_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_UNDERSTOOD = (
    "KHR_materials_",
    "KHR_lights_punctual",
    "KHR_texture_transform",
    "EXT_texture_webp",
    "KHR_xmp",
)
"""Extensions that may be required because leaving them out costs looks at most."""
MAX_RECORDS = 1_000_000
MAX_FACES = 20_000_000
MAX_DEPTH = 512


def gltf_files(path: Path) -> tuple[Path, ...]:
    """A `.gltf` file and the buffers and pictures beside it that it names.

    Raises:
        InputError: it is no glTF, or names files elsewhere.
    """
    with open(path, "rb") as file:
        tree = parse_json(file.read(MAX_JSON_BYTES + 1), path)
    named = [entry.get("uri") for key in ("buffers", "images") for entry in records(tree, key, path)]
    uris = [uri for uri in named if isinstance(uri, str) and not uri.startswith("data:")]
    if len(uris) > MAX_SIDE_FILES:
        raise InputError(f"the file names {len(uris)} other files; expected at most {MAX_SIDE_FILES}: {path}")
    beside = [side_file(path, uri) for uri in uris]
    return path, *sorted({file for file in beside if file is not None} - {path})


def parse_json(raw: bytes, path: Path) -> dict[str, Any]:
    """The tree of a glTF file; raises `InputError`."""
    if len(raw) > MAX_JSON_BYTES:
        raise InputError(f"the JSON of the file has more than {MAX_JSON_BYTES >> 20} MiB: {path}")
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"the JSON of the file is damaged ({reason}): {path}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("asset"), dict):
        raise InputError(f"the file is no glTF, it has no 'asset': {path}")
    return tree


def records(tree: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """One of the top-level lists of objects; raises `InputError` for anything else under its name."""
    found = tree.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"'{key}' is no list of objects: {path}")
    return found


@dataclass(frozen=True, kw_only=True)
class Gltf:
    """A file whose promises have been checked."""

    tree: dict[str, Any]
    face_count: int
    """Of all instances together."""


def check_gltf(path: Path, raw: bytes) -> Gltf:
    """Check the whole structure of a `.glb` or `.gltf` file before anybody reads it.

    Args:
        path: where it lies; buffers and pictures that it names lie beside it.
        raw: its content.

    Raises:
        InputError: damaged, cut off, larger inside than outside, compressed in a way that is not read, or too large.
    """
    binary = 0
    if raw.startswith(b"glTF"):
        text, binary = _chunks(raw, path)
    else:
        text = raw
    tree = parse_json(text, path)
    version = str(tree["asset"].get("version", ""))
    if not version.startswith("2"):
        raise InputError(f"the file is glTF '{version[:20]}'; expected 2.0, export it again: {path}")
    required = tree.get("extensionsRequired", [])
    for name in required if isinstance(required, list) else []:
        if not str(name).startswith(_UNDERSTOOD):
            raise InputError(f"the file needs '{str(name)[:60]}', which is not read; export it without: {path}")
    for key in ("buffers", "bufferViews", "accessors", "meshes", "nodes", "images", "textures", "materials", "scenes"):
        if len(records(tree, key, path)) > MAX_RECORDS:
            raise InputError(f"the file lists more than {MAX_RECORDS} {key}: {path}")
    try:
        views = _check_views(tree, path, binary)
        counts = _check_accessors(tree, path, views)
        for image in records(tree, "images", path):
            if "bufferView" in image:
                _index(image["bufferView"], len(views), "an image's bufferView", path)
        faces = _faces_of_meshes(tree, path, counts)
        total = _instanced_faces(tree, path, faces)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the structure of the file is damaged ({type(error).__name__}: {error}): {path}") from error
    if not total:
        raise InputError(f"the file holds no triangles: {path}")
    if total > MAX_FACES:
        raise InputError(f"the file holds {total} triangles; expected at most {MAX_FACES}, simplify it first: {path}")
    return Gltf(tree=tree, face_count=total)


def _chunks(raw: bytes, path: Path) -> tuple[bytes, int]:
    """JSON of a `.glb` file and the length of its binary chunk."""
    if len(raw) < 20:
        raise InputError(f"the file is cut off within its header: {path}")
    version, length = struct.unpack_from("<II", raw, 4)
    if version != 2 or length > len(raw):
        raise InputError(f"the file is glb version {version} of {length} bytes, {len(raw)} are there: {path}")
    size, kind = struct.unpack_from("<I4s", raw, 12)
    if kind != b"JSON" or 20 + size > length:
        raise InputError(f"the file is cut off: its JSON has {size} bytes: {path}")
    text, at, binary = raw[20 : 20 + size], 20 + size, 0
    if at + 8 <= length:
        binary, kind = struct.unpack_from("<I4s", raw, at)
        if kind != b"BIN\x00" or at + 8 + binary > length:
            raise InputError(f"the file is cut off: its data has {binary} bytes: {path}")
    return text, binary


def _index(value: Any, count: int, what: str, path: Path) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise InputError(f"{what} is {str(value)[:20]}; expected 0 to {count - 1}: {path}")
    return value


def _size(value: Any, what: str, path: Path) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise InputError(f"{what} is {str(value)[:20]}; expected a number of bytes: {path}")
    return value


def _check_views(tree: dict[str, Any], path: Path, binary: int) -> list[int]:
    """Length of every buffer view, all of which lie within their buffers."""
    lengths = []
    for k, buffer in enumerate(records(tree, "buffers", path)):
        length, uri = _size(buffer.get("byteLength"), "a buffer's byteLength", path), buffer.get("uri")
        if uri is None:
            have = binary if k == 0 else 0
        elif isinstance(uri, str) and uri.startswith("data:"):
            have = len(uri.partition(",")[2]) * 3 // 4
        else:
            beside = side_file(path, str(uri))
            if beside is None:
                raise InputError(f"the file '{str(uri)[:80]}' is missing; put it beside: {path}")
            have = beside.stat().st_size
        if length > have:
            raise InputError(f"a buffer of the file has {length} bytes, {have} are there: {path}")
        lengths.append(length)
    views = []
    for view in records(tree, "bufferViews", path):
        if "EXT_meshopt_compression" in (view.get("extensions") or {}):
            raise InputError(f"the file is compressed with meshopt, which is not read; export it without: {path}")
        length = lengths[_index(view.get("buffer"), len(lengths), "a bufferView's buffer", path)]
        start = _size(view.get("byteOffset", 0), "a bufferView's byteOffset", path)
        size = _size(view.get("byteLength"), "a bufferView's byteLength", path)
        if start + size > length:
            raise InputError(f"a bufferView of the file ends at {start + size} of {length} bytes: {path}")
        views.append(size)
    return views


def _check_accessors(tree: dict[str, Any], path: Path, views: list[int]) -> list[int]:
    """Count of every accessor, all of which lie within their views."""
    strides = [view.get("byteStride") for view in records(tree, "bufferViews", path)]
    counts = []
    for accessor in records(tree, "accessors", path):
        if "sparse" in accessor:
            raise InputError(f"the file has sparse accessors, which are not read; export it without: {path}")
        component, kind = accessor.get("componentType"), accessor.get("type")
        if component not in _COMPONENT_BYTES or kind not in _COMPONENTS:
            raise InputError(f"an accessor of the file holds '{str(kind)[:20]}' of {str(component)[:20]}: {path}")
        count = _size(accessor.get("count"), "an accessor's count", path)
        item = _COMPONENT_BYTES[component] * _COMPONENTS[kind]
        if "bufferView" not in accessor:
            if count:
                raise InputError(f"an accessor of the file has {count} values and no data: {path}")
            counts.append(0)
            continue
        view = _index(accessor["bufferView"], len(views), "an accessor's bufferView", path)
        stride = item if strides[view] is None else _size(strides[view], "a bufferView's byteStride", path)
        start = _size(accessor.get("byteOffset", 0), "an accessor's byteOffset", path)
        if count and (stride < item or start + (count - 1) * stride + item > views[view]):
            raise InputError(f"an accessor of the file has {count} values, more than its {views[view]} bytes: {path}")
        counts.append(count)
    return counts


def _faces_of_meshes(tree: dict[str, Any], path: Path, counts: list[int]) -> list[int]:
    faces = []
    for mesh in records(tree, "meshes", path):
        total = 0
        for primitive in records(mesh, "primitives", path):
            if "KHR_draco_mesh_compression" in (primitive.get("extensions") or {}):
                raise InputError(f"the file is compressed with Draco, which is not read; export it without: {path}")
            attributes = primitive.get("attributes", {})
            for name, accessor in attributes.items():
                _index(accessor, len(counts), f"the accessor of {name}", path)
            if "material" in primitive:
                _index(primitive["material"], len(records(tree, "materials", path)), "a material", path)
            if "POSITION" not in attributes:
                continue
            corners = counts[attributes["POSITION"]]
            if "indices" in primitive:
                corners = counts[_index(primitive["indices"], len(counts), "the accessor of indices", path)]
            total += {4: corners // 3, 5: corners, 6: corners}.get(primitive.get("mode", 4), 0)
        faces.append(total)
    return faces


def _instanced_faces(tree: dict[str, Any], path: Path, faces: list[int]) -> int:
    """Faces of all nodes; nodes form trees, which is checked."""
    nodes = records(tree, "nodes", path)
    parents = [0] * len(nodes)
    children: list[list[int]] = []
    for node in nodes:
        below = node.get("children", [])
        if not isinstance(below, list):
            raise InputError(f"a node's children are no list: {path}")
        children.append([_index(child, len(nodes), "a node's child", path) for child in below])
        for child in children[-1]:
            parents[child] += 1
        for name, size in (("matrix", 16), ("translation", 3), ("rotation", 4), ("scale", 3)):
            values = node.get(name, [0.0] * size)
            if len(values) != size or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                raise InputError(f"a node's {name} is no list of {size} finite numbers: {path}")
    if any(count > 1 for count in parents):
        raise InputError(f"a node of the file hangs below two others: {path}")
    level = [k for k, count in enumerate(parents) if not count]
    seen, depth = 0, 0
    while level:
        seen, depth = seen + len(level), depth + 1
        if depth > MAX_DEPTH:
            raise InputError(f"the nodes of the file are nested more than {MAX_DEPTH} deep: {path}")
        level = [child for node in level for child in children[node]]
    if seen != len(nodes):
        raise InputError(f"the nodes of the file hang below one another in a circle: {path}")
    for scene in records(tree, "scenes", path):
        for root in scene.get("nodes", []):
            _index(root, len(nodes), "a scene's node", path)
    if "scene" in tree:
        _index(tree["scene"], len(records(tree, "scenes", path)), "the scene", path)
    return sum(faces[_index(node["mesh"], len(faces), "a node's mesh", path)] for node in nodes if "mesh" in node)
