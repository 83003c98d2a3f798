"""Records on disk: meshes, views, geometry and splats as compressed `.npz` files.

Every file can be opened with `numpy.load`; the scalar fields of a record lie as JSON text in its array `meta`. The
bytes depend on the record only (fixed dates, fixed order), files are written aside and renamed, and the readers expect
files that somebody else made: nothing is unpickled, and names, types, shapes and sizes are checked before anything of
a declared size is allocated.
"""

from __future__ import annotations

import json
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from .camera import PinholeCamera
from .errors import InputError
from .files import explain_os_error
from .frames import expect_rigid
from .mesh import TriMesh
from .splats import GaussianCloud
from .views import PhotoGeometry, PolarLayout, RgbdView, WorldViews

FORMAT_VERSION = 1
MAX_ARRAY_BYTES = 2**30
"""Largest array that a reader accepts [bytes]; a 16384 x 16384 RGB texture is 0.8 of it."""
_MAX_META_BYTES = 2**20
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
R = TypeVar("R")


@dataclass(frozen=True)
class _Field:
    """Expected type and shape of one array; a letter stands for a size that all fields of a record share."""

    dtype: str
    dims: tuple[int | str | None, ...]
    optional: bool = False


_MESH_FIELDS = {
    "vertices": _Field("<f8", ("N", 3)),
    "faces": _Field("<i4", ("F", 3)),
    "face_labels": _Field("|u1", ("F",), optional=True),
    "uv": _Field("<f4", ("F", 3, 2), optional=True),
    "texture_u8": _Field("|u1", (None, None, 3), optional=True),
    "vertex_rgb_u8": _Field("|u1", ("N", 3), optional=True),
}
_VIEW_FIELDS = {
    "T_world_cam": _Field("<f8", (4, 4)),
    "rgb_u8": _Field("|u1", ("H", "W", 3)),
    "depth_z_m": _Field("<f4", ("H", "W")),
    "valid": _Field("|b1", ("H", "W")),
    "source": _Field("|u1", ("H", "W")),
    "labels": _Field("|u1", ("H", "W")),
}
_GEOMETRY_FIELDS = {
    "T_world_cam": _Field("<f8", (4, 4)),
    "depth_z_m": _Field("<f4", ("H", "W")),
    "labels": _Field("|u1", ("H", "W")),
    "layout_azimuth_rad": _Field("<f8", ("A",)),
    "layout_boundary_m": _Field("<f8", ("A",)),
    "layout_boundary_top_m": _Field("<f8", ("A",)),
    "layout_boundary_label": _Field("|u1", ("A",)),
    "layout_object_bin": _Field("<i4", ("M",)),
    "layout_object_near_m": _Field("<f8", ("M",)),
    "layout_object_far_m": _Field("<f8", ("M",)),
    "layout_object_top_m": _Field("<f8", ("M",)),
}
_SPLAT_FIELDS = {
    "means": _Field("<f4", ("N", 3)),
    "scales_m": _Field("<f4", ("N", 3)),
    "quats_wxyz": _Field("<f4", ("N", 4)),
    "opacities": _Field("<f4", ("N",)),
    "sh": _Field("<f4", ("N", "K", 3)),
    "labels": _Field("|u1", ("N",), optional=True),
}
_EXPLORED_FIELDS = {"Ts_world_path": _Field("<f8", ("P", 4, 4)), "metric_values": _Field("<f8", ("Q",))}
_PATH_FIELDS = {"Ts_world_path": _Field("<f8", ("P", 4, 4))}


@contextmanager
def write_aside(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` when the block ends well and vanishes when it does not.

    Raises:
        InputError: the folder or file cannot be written.
    """
    path = Path(path)
    # One fixed name per file, as in `files.write_bytes`: what a killed run left is used again, not piled up.
    aside = path.with_name(f".{path.name}.part")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"cannot write: {explain_os_error(error)}: {path}") from error
    finally:
        aside.unlink(missing_ok=True)


def save_mesh(path: Path, mesh: TriMesh) -> None:
    """Write a mesh exactly, with labels, texture coordinates, texture and vertex colours where it has them."""
    mesh.validate()
    _save(path, "mesh", _MESH_FIELDS, {name: getattr(mesh, name) for name in _MESH_FIELDS}, {})


def load_mesh(path: Path) -> TriMesh:
    """Read what `save_mesh` wrote; raises `InputError` for anything else."""
    arrays, _ = _load(path, "mesh", _MESH_FIELDS)
    return _at(path, lambda: TriMesh(**arrays).validate())  # pyright: ignore[reportArgumentType]


def save_view(path: Path, view: RgbdView) -> None:
    """Write one view with camera, pose, colour, depth, masks and labels."""
    arrays = {name: getattr(view, name) for name in _VIEW_FIELDS}
    _save(path, "view", _VIEW_FIELDS, arrays, {"view_id": int(view.view_id), "camera": _camera_meta(view.camera)})


def load_view(path: Path) -> RgbdView:
    """Read what `save_view` wrote; raises `InputError` for anything else, also for depth <= 0 or NaN where valid."""
    arrays, meta = _load(path, "view", _VIEW_FIELDS)

    def build() -> RgbdView:
        depth_m = arrays["depth_z_m"][arrays["valid"]]
        if not (np.isfinite(depth_m).all() and (depth_m > 0).all()):
            raise InputError("depth_z_m is not finite and positive wherever valid is set")
        expect_rigid("T_world_cam", arrays["T_world_cam"])
        return RgbdView(view_id=int(meta["view_id"]), camera=_camera_of(meta["camera"]), **arrays)

    return _at(path, build)


def save_geometry(path: Path, geometry: PhotoGeometry) -> None:
    """Write what is known about the space in a photo."""
    arrays = {
        name: getattr(geometry.layout, name.removeprefix("layout_"))
        if name.startswith("layout_")
        else getattr(geometry, name)
        for name in _GEOMETRY_FIELDS
    }
    meta = {
        "camera": _camera_meta(geometry.camera),
        "ceiling_m": None if geometry.layout.ceiling_m is None else float(geometry.layout.ceiling_m),
        "camera_height_m": float(geometry.layout.camera_height_m),
        "confidence": float(geometry.confidence),
        "mode": geometry.mode,
        "manhattan_yaw_rad": float(geometry.manhattan_yaw_rad),
        "relative_scale_sigma": float(geometry.relative_scale_sigma),
        "backend": geometry.backend,
        "notes": list(geometry.notes),
    }
    _save(path, "geometry", _GEOMETRY_FIELDS, arrays, meta)


def load_geometry(path: Path) -> PhotoGeometry:
    """Read what `save_geometry` wrote; raises `InputError` for anything else."""
    arrays, meta = _load(path, "geometry", _GEOMETRY_FIELDS)

    def build() -> PhotoGeometry:
        layout_arrays = {name.removeprefix("layout_"): a for name, a in arrays.items() if name.startswith("layout_")}
        ceiling_m = meta["ceiling_m"]
        layout = PolarLayout(
            ceiling_m=None if ceiling_m is None else float(ceiling_m),
            camera_height_m=float(meta["camera_height_m"]),
            **layout_arrays,
        )
        if len(layout.object_bin) and not (
            0 <= layout.object_bin.min() and layout.object_bin.max() < len(layout.azimuth_rad)
        ):
            raise InputError(f"object_bin leaves 0..{len(layout.azimuth_rad) - 1}, the bins of azimuth_rad")
        camera = _camera_of(meta["camera"])
        if arrays["depth_z_m"].shape != (camera.height_px, camera.width_px):
            raise InputError(f"depth_z_m has shape {arrays['depth_z_m'].shape}; expected the camera's height and width")
        expect_rigid("T_world_cam", arrays["T_world_cam"])
        return PhotoGeometry(
            camera=camera,
            T_world_cam=arrays["T_world_cam"],
            depth_z_m=arrays["depth_z_m"],
            labels=arrays["labels"],
            layout=layout,
            confidence=float(meta["confidence"]),
            mode=str(meta["mode"]),
            manhattan_yaw_rad=float(meta["manhattan_yaw_rad"]),
            relative_scale_sigma=float(meta["relative_scale_sigma"]),
            backend=str(meta["backend"]),
            notes=tuple(str(note) for note in meta["notes"]),
        )

    return _at(path, build)


def save_splats(path: Path, splats: GaussianCloud) -> None:
    """Write splats exactly, labels included (the portable `.ply` has no place for labels)."""
    splats.validate()
    _save(path, "splats", _SPLAT_FIELDS, {name: getattr(splats, name) for name in _SPLAT_FIELDS}, {})


def load_splats(path: Path) -> GaussianCloud:
    """Read what `save_splats` wrote; raises `InputError` for anything else."""
    arrays, _ = _load(path, "splats", _SPLAT_FIELDS)
    return _at(path, lambda: GaussianCloud(**arrays).validate())  # pyright: ignore[reportArgumentType]


def save_views(folder: Path, views: WorldViews) -> None:
    """Write all views of a world below `folder`: `views/view_00000.npz` and on, `proxy.npz`, then `explored.npz`.

    `explored.npz` comes last and states the number of views, so a folder that was cut off is refused by `load_views`.
    """
    folder = Path(folder)
    try:
        (folder / "views").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder ({error.strerror}); choose another place: {folder}") from error
    for index, view in enumerate(views.views):
        save_view(view_path(folder, index), view)
    save_explored(folder, views)


def save_explored(folder: Path, views: WorldViews) -> None:
    """Write what `save_views` does but the views themselves, for a world whose chunks have written theirs."""
    folder = Path(folder)
    if views.proxy is not None:
        save_mesh(folder / "proxy.npz", views.proxy)
    meta = {
        "view_count": len(views.views),
        "has_proxy": views.proxy is not None,
        "ceiling_m": None if views.ceiling_m is None else float(views.ceiling_m),
        "metric_names": sorted(views.metrics),
    }
    # A metric may be infinite (the PSNR of equal pictures), which JSON cannot say.
    values = np.array([views.metrics[name] for name in sorted(views.metrics)], float)
    arrays = {"Ts_world_path": views.Ts_world_path, "metric_values": values}
    _save(folder / "explored.npz", "explored", _EXPLORED_FIELDS, arrays, meta)


def load_views(folder: Path) -> WorldViews:
    """Read what `save_views` wrote; raises `InputError` for a folder that is incomplete or foreign."""
    folder = Path(folder)
    path = folder / "explored.npz"
    arrays, meta = _load(path, "explored", _EXPLORED_FIELDS)
    count, ceiling_m = _at(path, lambda: (int(meta["view_count"]), meta["ceiling_m"]))
    metrics = _at(path, lambda: dict(zip(meta["metric_names"], arrays["metric_values"].tolist(), strict=True)))
    if not 1 <= count <= 100_000:
        raise InputError(f"view_count is {count}; expected 1 to 100000: {path}")
    return WorldViews(
        views=[load_view(view_path(folder, index)) for index in range(count)],
        proxy=load_mesh(folder / "proxy.npz") if meta.get("has_proxy") else None,
        ceiling_m=None if ceiling_m is None else _at(path, lambda: float(ceiling_m)),
        Ts_world_path=arrays["Ts_world_path"],
        metrics=metrics,
    )


def save_path(path: Path, Ts_world_path: np.ndarray) -> None:
    """Write poses [P, 4, 4] from which a world is looked at."""
    _save(path, "path", _PATH_FIELDS, {"Ts_world_path": Ts_world_path}, {})


def load_path(path: Path) -> np.ndarray:
    """Read what `save_path` wrote; raises `InputError` for anything else."""
    arrays, _ = _load(path, "path", _PATH_FIELDS)
    poses = arrays["Ts_world_path"]
    if not np.isfinite(poses).all():
        raise InputError(f"Ts_world_path holds NaN or infinite values: {path}")
    return poses


def view_path(folder: Path, index: int) -> Path:
    """Where view number `index` of a world's memory folder lies."""
    return Path(folder) / "views" / f"view_{index:05d}.npz"


def _camera_meta(camera: PinholeCamera) -> dict[str, Any]:
    size = {"width_px": int(camera.width_px), "height_px": int(camera.height_px)}
    return size | {name: float(getattr(camera, name)) for name in ("fx_px", "fy_px", "cx_px", "cy_px")}


def _camera_of(meta: Mapping[str, Any]) -> PinholeCamera:
    return PinholeCamera(
        width_px=int(meta["width_px"]),
        height_px=int(meta["height_px"]),
        **{name: float(meta[name]) for name in ("fx_px", "fy_px", "cx_px", "cy_px")},
    )


def _save(
    path: Path, kind: str, fields: Mapping[str, _Field], arrays: Mapping[str, np.ndarray | None], meta: dict[str, Any]
) -> None:
    try:
        text = json.dumps({"kind": kind, "format": FORMAT_VERSION, **meta}, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{kind} record holds a NaN or infinite number; expected finite values: {path}") from error
    members = {"meta": np.frombuffer(text.encode(), np.uint8)}
    for name, field in fields.items():
        array = arrays[name]
        if array is None and field.optional:
            continue
        members[name] = np.ascontiguousarray(array, field.dtype)
    _check_fields(members, fields, path)
    with write_aside(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            # Level 1 costs a tenth of the default's time on photographs and gains within a few percent as much.
            info._compresslevel = 1  # pyright: ignore[reportAttributeAccessIssue]
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def read_foreign_npz(path: Path, names: set[str]) -> dict[str, np.ndarray]:
    """Plain number arrays of somebody else's `.npz` file; other arrays in it are not looked at.

    Raises:
        InputError: the file is missing, damaged, holds objects, or declares more than it has.
    """
    return _read_archive(path, "the", lambda archive: _read_members(archive, names, others=True))


def read_foreign_npy(path: Path) -> np.ndarray:
    """The plain numbers of somebody else's `.npy` file.

    Raises:
        InputError: the file is missing, damaged, holds objects, or declares more than it has.
    """
    return _read_from(path, "the", lambda file: _read_array(file, path.stat().st_size, path.stem[:60]))


def _read_archive(path: Path, kind: str, read: Callable[[zipfile.ZipFile], R]) -> R:
    def unpack(file: IO[bytes]) -> R:
        with zipfile.ZipFile(file) as archive:
            return read(archive)

    return _read_from(path, kind, unpack)


def _read_from(path: Path, kind: str, read: Callable[[IO[bytes]], R]) -> R:
    try:
        with open(path, "rb") as file:
            return read(file)
    except InputError as error:
        raise InputError(f"{error}: {path}") from error
    except FileNotFoundError as error:
        raise InputError(f"{kind} file is missing; run the stage that writes it: {path}") from error
    except OSError as error:
        raise InputError(f"{kind} file cannot be read ({error.strerror or error}): {path}") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        ValueError,
        OverflowError,
        KeyError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:
        # RuntimeError and its child NotImplementedError: encrypted members and unknown compression methods. NumPy reads
        # headers as Python literals and lets the errors of Python's own parser through.
        what = path.suffix if path.suffix in (".npz", ".npy") else ".npz"
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{kind} file is damaged or no {what} file ({reason}); make it again: {path}") from error


def _load(path: Path, kind: str, fields: Mapping[str, _Field]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    members = _read_archive(path, kind, lambda archive: _read_members(archive, {"meta", *fields}))
    if "meta" not in members:
        raise InputError(f"file holds no array 'meta', so it is not one of ours: {path}")
    meta = _at(path, lambda: json.loads(members.pop("meta").astype(np.uint8).tobytes()))
    if not isinstance(meta, dict) or meta.get("kind") != kind:
        found = meta.get("kind") if isinstance(meta, dict) else None
        raise InputError(f"file holds the record '{found}'; expected '{kind}': {path}")
    if meta.get("format") != FORMAT_VERSION:
        raise InputError(f"format is {meta.get('format')}; this version reads {FORMAT_VERSION}: {path}")
    _check_fields(members, fields, path)
    return members, meta


def _read_members(archive: zipfile.ZipFile, known: set[str], *, others: bool = False) -> dict[str, np.ndarray]:
    """The known arrays of the archive; a member is allocated only after its header agrees with its declared size.

    With `others` the archive may hold more, which is skipped; without, that is an error.
    """
    members: dict[str, np.ndarray] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name not in known or not info.filename.endswith(".npy"):
            if others:
                continue
            raise InputError(f"file holds the unknown array '{info.filename[:60]}'")
        if name in members:
            raise InputError(f"file holds the array '{name}' twice")
        limit = _MAX_META_BYTES if name == "meta" else MAX_ARRAY_BYTES
        if info.file_size > limit:
            raise InputError(f"array '{name}' declares {info.file_size} bytes; at most {limit} are read")
        with archive.open(info) as member:
            members[name] = _read_array(member, info.file_size, name)
    return members


def _read_array(member: IO[bytes], size_bytes: int, name: str) -> np.ndarray:
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"array '{name}' has .npy version {version}; expected (1, 0) or (2, 0)")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(member, max_header_size=4096)
    if dtype.hasobject or dtype.kind not in "biuf" or fortran:
        raise InputError(f"array '{name}' has type {dtype}; expected plain numbers in C order")
    count = math.prod(shape)
    need = count * dtype.itemsize
    if need > size_bytes:
        raise InputError(f"array '{name}' declares shape {shape}, more than its {size_bytes} bytes hold")
    data = member.read(need + 1)
    if len(data) != need:
        raise InputError(f"array '{name}' holds {len(data)} bytes; expected {need} for shape {shape}")
    # A bytearray keeps the result writable, like every array that was computed and not loaded.
    return np.frombuffer(bytearray(data), dtype).reshape(shape)


def _check_fields(members: Mapping[str, np.ndarray], fields: Mapping[str, _Field], path: Path) -> None:
    sizes: dict[str, int] = {}
    for name, field in fields.items():
        array = members.get(name)
        if array is None:
            if field.optional:
                continue
            raise InputError(f"array '{name}' is missing; make the file again: {path}")
        if array.dtype != np.dtype(field.dtype):
            raise InputError(f"array '{name}' has type {array.dtype}; expected {np.dtype(field.dtype)}: {path}")
        wanted = [sizes.get(d, d) if isinstance(d, str) else d for d in field.dims]
        fits = array.ndim == len(wanted) and all(
            not isinstance(w, int) or w == g for w, g in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            text = ", ".join("any" if w is None else str(w) for w in wanted)
            raise InputError(f"array '{name}' has shape {array.shape}; expected ({text}): {path}")
        sizes.update({d: g for d, g in zip(field.dims, array.shape, strict=True) if isinstance(d, str)})


def _at(path: Path, build: Callable[[], R]) -> R:
    """Run `build` and say which file is to blame when the content makes no sense."""
    try:
        return build()
    except InputError as error:
        raise InputError(f"{error}: {path}") from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"file content is malformed ({type(error).__name__}: {error}); make it again: {path}") from (
            error
        )
