"""A room with splats on its surfaces, as the exported page and the renderers of the package show it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lyra.worldgen.core.frames import quat_wxyz_from_rotation
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.raycast import sample_texture
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
from lyra.worldgen.reconstruction.splat_io import write_splats
from physx_rooms import textured, write_room_world
from rooms import AnalyticRoom


def surface_splats(mesh: TriMesh, count: int, *, degree: int = 0, cover: float = 1.1, seed: int = 7) -> GaussianCloud:
    """Flat discs that cover a textured mesh evenly and have its colours; small harmonics above degree 0.

    Discs of `cover` times the distance of neighbours leave no holes when it is 1 and take long to draw.
    """
    assert mesh.uv is not None and mesh.texture_u8 is not None
    rng = np.random.default_rng(seed)
    area = mesh.face_areas_m2()
    face = rng.choice(mesh.face_count, count, p=area / area.sum())
    weights = rng.dirichlet([1, 1, 1], count)
    t = mesh.triangles()
    along = t[:, 1] - t[:, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    normals = mesh.face_normals()
    axes = np.stack([along, np.cross(normals, along), normals], -1)
    radius_m = cover * float(np.sqrt(area.sum() / count))
    sh = np.zeros((count, (degree + 1) ** 2, 3), np.float32)
    uv = np.einsum("nk,nkc->nc", weights, mesh.uv[face])
    sh[:, :1] = sh_from_rgb(sample_texture(mesh.texture_u8, uv) / 255.0)
    sh[:, 1:] = rng.normal(0, 0.03, sh[:, 1:].shape)
    return GaussianCloud(
        means=np.einsum("nk,nkc->nc", weights, t[face]).astype(np.float32),
        scales_m=np.tile(np.array([radius_m, radius_m, 0.001], np.float32), (count, 1)),
        quats_wxyz=quat_wxyz_from_rotation(axes)[face].astype(np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=sh,
    )


def write_splat_room(
    folder: Path, count: int, *, degree: int = 0, cover: float = 1.1, room: AnalyticRoom | None = None
) -> AnalyticRoom:
    """The parts of a finished world that its site is made of; a robot has driven along +X at y = 0."""
    room = write_room_world(folder, room)
    write_splats(folder / "splats.ply", surface_splats(textured(room.mesh()), count, degree=degree, cover=cover))
    drive = {"reached": True, "driven_m": 1.5, "trace_xy_m": [[-0.5, 0.0], [0.0, 0.0], [1.0, 0.0]]}
    blocked = {"reached": False, "driven_m": 0.0, "trace_xy_m": [[2.0, 1.0], [2.0, 1.0]]}
    certificate = {"verdict": "passed", "summary": "certified: all <checks> passed", "drives": [blocked, drive]}
    (folder / "certificate.json").write_text(json.dumps(certificate))
    (folder / "certificate.html").write_text("<!doctype html><title>certificate</title>")
    return room
