"""What a file is, found by its content and never by its name alone; and what is refused, with what to do instead."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

from ..core.config import SOURCE_KINDS, WorldConfig
from ..core.errors import ConfigError, InputError
from ..core.files import SCENE_SUFFIXES, explain_os_error, sha256_file
from ..core.optional import Registry
from ..core.progress import SILENT, SupportsProgress
from .records import ImportedScene, Source

READERS = Registry(
    "source",
    {
        "panorama": "lyra.worldgen.importing.panorama_source:read_panorama_source",
        "views": "lyra.worldgen.importing.views_source:read_views_source",
        "splats": "lyra.worldgen.importing.splat_source:read_splat_source",
        "points": "lyra.worldgen.importing.splat_source:read_splat_source",
        "mesh": "lyra.worldgen.importing.mesh_source:read_mesh_source",
    },
)
"""Who reads which kind: a function of (Source, WorldConfig, progress) that returns an `ImportedScene`."""
HEAD_BYTES = 1 << 16
"""What is looked at to find out what a file is."""
MAX_FILE_BYTES = 8 << 30
MAX_FILES = 20_000
PICTURE_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\x00", b"MM\x00*", b"BM", b"GIF8")
VIDEO_MAGIC = (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"OggS")
_USD_ADVICE = "convert it to .glb first, for example with usdcat and Blender"
_OTHER_FORMATS: dict[str, str] = {
    ".fbx": "FBX files are not read; export it as .glb",
    ".dae": "Collada files are not read; export it as .glb",
    ".stl": "STL files hold no colours and are not read; export it as .glb or .ply",
    ".blend": "Blender files are not read; export it as .glb from Blender",
    ".splat": ".splat files are not read; save it as .ply or .spz in the viewer that made it",
    ".ksplat": ".ksplat files are not read; save it as .ply or .spz in the viewer that made it",
    ".sog": "SOG files are not read; save it as .ply or .spz in SuperSplat",
    ".las": "LiDAR files are not read; save it as .ply with CloudCompare",
    ".laz": "LiDAR files are not read; save it as .ply with CloudCompare",
    ".e57": "E57 files are not read; save it as .ply with CloudCompare",
    ".pcd": "PCD files are not read; save it as .ply with CloudCompare",
}
"""Formats that have no mark of their own or whose mark is not looked for: by name, to say what to do."""


def find_source(path: Path, kind: str = "auto") -> Source:
    """Find out what a file or folder is and hash it; `kind` other than `auto` insists on one of the possible kinds.

    Raises:
        InputError: it does not exist, is of no kind that can be imported, is too large, or is not what `kind` says.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(f"the file does not exist; check the path: {path}")
        if path.is_dir():
            found, layout, files = _of_folder(path)
        elif path.is_file():
            found, layout, files = _of_file(path)
        else:
            raise InputError(f"it is neither a file nor a folder: {path}")
        if kind not in ("auto", found):
            raise InputError(f"the file holds {_named(found)}, but source.kind is '{kind}'; leave it at auto: {path}")
        for file in files:
            if file.stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"a file has more than {MAX_FILE_BYTES >> 30} GiB; reduce it first: {file}")
        return Source(path=path, kind=found, layout=layout, files=files, sha256=_hash_of(path, files))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"the file cannot be read ({reason}): {path}") from error


def read_source(source: Source, config: WorldConfig, *, progress: SupportsProgress = SILENT) -> ImportedScene:
    """The scene in a file; every refusal names the file.

    Raises:
        InputError: damaged, no place that a robot could stand in, or of a kind that nobody reads.
        DependencyError: a package that reads it is missing.
    """
    if source.kind not in READERS.names():
        raise InputError(f"this version does not import files of the kind '{source.kind}': {source.path}")
    try:
        return READERS.load(source.kind)(source, config, progress=progress)
    except ConfigError:
        raise
    except InputError as error:
        if str(source.path) in str(error):
            raise
        raise InputError(f"{error}: {source.path}") from error
    except MemoryError as error:
        raise InputError(f"the file needs more memory than there is; simplify it first: {source.path}") from error


def _named(kind: str) -> str:
    assert kind in SOURCE_KINDS, f"unknown kind {kind}"
    return {"mesh": "a mesh", "panorama": "a panorama", "views": "posed pictures"}.get(kind, kind)


def _of_file(path: Path) -> tuple[str, str, tuple[Path, ...]]:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(f"the file is empty: {path}")
    for test in (_ply, _spz, _gltf, _usd, _zip, _picture, _video, _obj):
        if found := test(path, head):
            return found
    advice = _OTHER_FORMATS.get(path.suffix.lower())
    raise InputError(
        f"{advice or 'this is nothing that can be imported'}; expected splats (.ply, .spz), a mesh (.glb, .gltf, .obj, "
        f".ply), a panorama, or posed pictures: {path}"
    )


Found = tuple[str, str, tuple[Path, ...]] | None


def _ply(path: Path, head: bytes) -> Found:
    if not re.match(rb"ply[ \t]*\r?\n", head):
        return None
    from ..reconstruction.ply_file import read_header

    with open(path, "rb") as file:
        header = read_header(file, path)
    vertex, face = header.element("vertex"), header.element("face")
    if vertex is None or not vertex.count:
        raise InputError(f"the .ply file holds no vertices: {path}")
    names = set(vertex.names)
    if "packed_position" in names or {"opacity", "scale_0", "rot_0"} <= names:
        return "splats", "ply", (path,)
    if face is not None and face.count:
        return "mesh", "ply", (path,)
    return "points", "ply", (path,)


def _spz(path: Path, head: bytes) -> Found:
    from ..reconstruction.splat_spz import is_spz

    return ("splats", "spz", (path,)) if is_spz(head[:4]) else None


def _gltf(path: Path, head: bytes) -> Found:
    if head.startswith(b"glTF"):
        return "mesh", "glb", (path,)
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return None
    if re.search(rb'"asset"\s*:', head) or path.suffix.lower() == ".gltf":
        from .gltf import gltf_files

        return "mesh", "gltf", gltf_files(path)
    raise InputError(f"this JSON file is no glTF; give the folder of a posed picture set, or a .gltf file: {path}")


def _usd(path: Path, head: bytes) -> Found:
    if head.startswith((b"PXR-USDC", b"#usda")):
        raise InputError(f"USD files are not imported; {_USD_ADVICE}: {path}")
    return None


def _zip(path: Path, head: bytes) -> Found:
    if not head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:1000]
    except (zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError) as error:
        raise InputError(f"the archive is damaged ({error}): {path}") from error
    if any(name.endswith((".usda", ".usdc", ".usd")) for name in names):
        raise InputError(f"USDZ packages are not imported; {_USD_ADVICE}: {path}")
    if names and all(name.endswith(".npy") for name in names):
        from .lyra_poses import files_of_poses

        return "views", "npz", (path, *files_of_poses(path))
    raise InputError(f"this is an archive; unpack it and give what is in it: {path}")


def _picture(path: Path, head: bytes) -> Found:
    return ("panorama", "image", (path,)) if head.startswith(PICTURE_MAGIC) else None


def _video(path: Path, head: bytes) -> Found:
    if head[4:8] != b"ftyp" and not head.startswith(VIDEO_MAGIC):
        return None
    from .lyra_poses import files_of_poses, poses_of_video

    poses = poses_of_video(path)
    beside = () if poses is None else (poses, *files_of_poses(poses, path)[1:])
    return "views", "video", (path, *beside)


def _obj(path: Path, head: bytes) -> Found:
    lines = [line.strip() for line in head.split(b"\n")[:200]]
    marks = sum(re.match(rb"(v|vn|vt|f|o|g|usemtl|mtllib|s)\s", line) is not None for line in lines)
    said = sum(bool(line) and not line.startswith(b"#") for line in lines)
    if b"\x00" in head or not marks or marks < 0.8 * said - 1:
        return None
    from .obj import obj_files

    return "mesh", "obj", obj_files(path)


def _of_folder(path: Path) -> tuple[str, str, tuple[Path, ...]]:
    names = {entry.name for entry in path.iterdir()}
    if "world.json" in names:
        raise InputError(f"this is a world already; look at it with: lyra-worldgen info: {path}")
    if meshes := sorted(n for n in names if n.lower().endswith(SCENE_SUFFIXES)):
        raise InputError(f"give one file of the folder, for example {meshes[0][:80]}: {path}")
    files = tuple(sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink()))
    if not files:
        raise InputError(f"the folder is empty: {path}")
    if len(files) > MAX_FILES:
        raise InputError(f"the folder holds {len(files)} files; expected at most {MAX_FILES}: {path}")
    return "views", "folder", files


def _hash_of(path: Path, files: tuple[Path, ...]) -> str:
    if len(files) == 1:
        return sha256_file(files[0])
    root = path if path.is_dir() else path.parent
    listed = [[file.relative_to(root).as_posix(), sha256_file(file)] for file in files]
    return hashlib.sha256(json.dumps(listed, ensure_ascii=True).encode()).hexdigest()
