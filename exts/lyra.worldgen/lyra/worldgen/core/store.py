"""Records on disk: meshes, views, geometry, splats and paths, each a compressed `.npz` file (`core.npz`).

Every file can be opened with `numpy.load`; the scalar fields of a record lie as JSON text in its array `meta`.
Files are written aside and renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .camera import PinholeCamera
from .errors import InputError
from .frames import expect_rigid
from .mesh import TriMesh
from .npz import ArrayField, blaming, load_record, save_record
from .splats import GaussianCloud
from .views import PhotoGeometry, PolarLayout, RgbdView, WorldViews

_MESH_FIELDS = {
    "vertices": ArrayField("<f8", ("N", 3)),
    "faces": ArrayField("<i4", ("F", 3)),
    "face_labels": ArrayField("|u1", ("F",), optional=True),
    "uv": ArrayField("<f4", ("F", 3, 2), optional=True),
    "texture_u8": ArrayField("|u1", (None, None, 3), optional=True),
    "vertex_rgb_u8": ArrayField("|u1", ("N", 3), optional=True),
}
_VIEW_FIELDS = {
    "T_world_cam": ArrayField("<f8", (4, 4)),
    "rgb_u8": ArrayField("|u1", ("H", "W", 3)),
    "depth_z_m": ArrayField("<f4", ("H", "W")),
    "valid": ArrayField("|b1", ("H", "W")),
    "source": ArrayField("|u1", ("H", "W")),
    "labels": ArrayField("|u1", ("H", "W")),
}
_GEOMETRY_FIELDS = {
    "T_world_cam": ArrayField("<f8", (4, 4)),
    "depth_z_m": ArrayField("<f4", ("H", "W")),
    "labels": ArrayField("|u1", ("H", "W")),
    "layout_azimuth_rad": ArrayField("<f8", ("A",)),
    "layout_boundary_m": ArrayField("<f8", ("A",)),
    "layout_boundary_top_m": ArrayField("<f8", ("A",)),
    "layout_boundary_label": ArrayField("|u1", ("A",)),
    "layout_object_bin": ArrayField("<i4", ("M",)),
    "layout_object_near_m": ArrayField("<f8", ("M",)),
    "layout_object_far_m": ArrayField("<f8", ("M",)),
    "layout_object_top_m": ArrayField("<f8", ("M",)),
}
_SPLAT_FIELDS = {
    "means": ArrayField("<f4", ("N", 3)),
    "scales_m": ArrayField("<f4", ("N", 3)),
    "quats_wxyz": ArrayField("<f4", ("N", 4)),
    "opacities": ArrayField("<f4", ("N",)),
    "sh": ArrayField("<f4", ("N", "K", 3)),
    "labels": ArrayField("|u1", ("N",), optional=True),
}
_EXPLORED_FIELDS = {"Ts_world_path": ArrayField("<f8", ("P", 4, 4)), "metric_values": ArrayField("<f8", ("Q",))}
_PATH_FIELDS = {"Ts_world_path": ArrayField("<f8", ("P", 4, 4))}


def save_mesh(path: Path, mesh: TriMesh) -> None:
    """Write a mesh exactly, with labels, texture coordinates, texture and vertex colours where it has them."""
    mesh.validate()
    save_record(path, "mesh", _MESH_FIELDS, {name: getattr(mesh, name) for name in _MESH_FIELDS}, {})


def load_mesh(path: Path) -> TriMesh:
    """Read what `save_mesh` wrote; raises `InputError` for anything else."""
    arrays, _ = load_record(path, "mesh", _MESH_FIELDS)
    return blaming(path, lambda: TriMesh(**arrays).validate())  # pyright: ignore[reportArgumentType]


def save_view(path: Path, view: RgbdView) -> None:
    """Write one view with camera, pose, colour, depth, masks and labels."""
    arrays = {name: getattr(view, name) for name in _VIEW_FIELDS}
    save_record(path, "view", _VIEW_FIELDS, arrays, {"view_id": int(view.view_id), "camera": _camera_meta(view.camera)})


def load_view(path: Path) -> RgbdView:
    """Read what `save_view` wrote; raises `InputError` for anything else, also for depth <= 0 or NaN where valid."""
    arrays, meta = load_record(path, "view", _VIEW_FIELDS)

    def build() -> RgbdView:
        depth_m = arrays["depth_z_m"][arrays["valid"]]
        if not (np.isfinite(depth_m).all() and (depth_m > 0).all()):
            raise InputError("depth_z_m is not finite and positive wherever valid is set")
        expect_rigid("T_world_cam", arrays["T_world_cam"])
        return RgbdView(view_id=int(meta["view_id"]), camera=_camera_of(meta["camera"]), **arrays)

    return blaming(path, build)


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
    save_record(path, "geometry", _GEOMETRY_FIELDS, arrays, meta)


def load_geometry(path: Path) -> PhotoGeometry:
    """Read what `save_geometry` wrote; raises `InputError` for anything else."""
    arrays, meta = load_record(path, "geometry", _GEOMETRY_FIELDS)

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

    return blaming(path, build)


def save_splats(path: Path, splats: GaussianCloud) -> None:
    """Write splats exactly, labels included (the portable `.ply` has no place for labels)."""
    splats.validate()
    save_record(path, "splats", _SPLAT_FIELDS, {name: getattr(splats, name) for name in _SPLAT_FIELDS}, {})


def load_splats(path: Path) -> GaussianCloud:
    """Read what `save_splats` wrote; raises `InputError` for anything else."""
    arrays, _ = load_record(path, "splats", _SPLAT_FIELDS)
    return blaming(path, lambda: GaussianCloud(**arrays).validate())  # pyright: ignore[reportArgumentType]


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
    save_record(folder / "explored.npz", "explored", _EXPLORED_FIELDS, arrays, meta)


def load_views(folder: Path) -> WorldViews:
    """Read what `save_views` wrote; raises `InputError` for a folder that is incomplete or foreign."""
    folder = Path(folder)
    path = folder / "explored.npz"
    arrays, meta = load_record(path, "explored", _EXPLORED_FIELDS)
    count, ceiling_m = blaming(path, lambda: (int(meta["view_count"]), meta["ceiling_m"]))
    metrics = blaming(path, lambda: dict(zip(meta["metric_names"], arrays["metric_values"].tolist(), strict=True)))
    if not 1 <= count <= 100_000:
        raise InputError(f"view_count is {count}; expected 1 to 100000: {path}")
    return WorldViews(
        views=[load_view(view_path(folder, index)) for index in range(count)],
        proxy=load_mesh(folder / "proxy.npz") if meta.get("has_proxy") else None,
        ceiling_m=None if ceiling_m is None else blaming(path, lambda: float(ceiling_m)),
        Ts_world_path=arrays["Ts_world_path"],
        metrics=metrics,
    )


def save_path(path: Path, Ts_world_path: np.ndarray) -> None:
    """Write poses [P, 4, 4] from which a world is looked at."""
    save_record(path, "path", _PATH_FIELDS, {"Ts_world_path": Ts_world_path}, {})


def load_path(path: Path) -> np.ndarray:
    """Read what `save_path` wrote; raises `InputError` for anything else."""
    arrays, _ = load_record(path, "path", _PATH_FIELDS)
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
