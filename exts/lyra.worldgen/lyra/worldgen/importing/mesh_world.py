"""An imported mesh becomes what a reconstruction is: labelled surface with a closed floor, and splats on it."""

from __future__ import annotations

import numpy as np

from ..core.config import WorldConfig
from ..core.errors import InputError
from ..core.frames import quat_wxyz_from_rotation
from ..core.mesh import Label, TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import sample_texture
from ..core.report import Report
from ..core.splats import GaussianCloud, sh_from_rgb
from ..reconstruction.reconstruct import Reconstruction
from .enclosure import enclose
from .floor_holes import close_floor_holes
from .samples import sample_mesh
from .surface_labels import label_surface
from .upright import judge_up

SPLATS_A_M2 = 4000
"""Splats on a square metre of surface, as far as the budget reaches: one every 16 mm."""
SPREAD = 0.75
"""Standard deviation of a splat relative to the distance of its neighbours."""
THICKNESS = 0.1
OPACITY = 0.98


def reconstruct_mesh(
    mesh: TriMesh, Ts_world_path: np.ndarray, config: WorldConfig, *, progress: SupportsProgress = SILENT
) -> Reconstruction:
    """Labels, a closed floor and splats for an imported mesh.

    Args:
        mesh: upright, in metres, the floor at z = 0, wound into free space, with texture.
        Ts_world_path: [P, 4, 4] the viewpoint first, in metres.
        config: its sections `source` and `reconstruction`.
        progress: steps are called "labels" and "splats".

    Raises:
        InputError: no floor at z = 0.
    """
    report = Report()
    progress.step("labels", 0, 1)
    plan = judge_up(sample_mesh(mesh, seed=config.seed), np.array([0.0, 0.0, 1.0]))
    ceiling_m = None if plan is None else plan.ceiling
    labelled = label_surface(mesh, ceiling_m=ceiling_m)
    if not (labelled.face_labels == Label.FLOOR).any():
        raise InputError("no triangle of the mesh is a floor at z = 0; say which axis points up with --up")
    patched = close_floor_holes(labelled, report)
    closed = enclose(patched, Ts_world_path[:, :3, 3], ceiling_m=ceiling_m, report=report)
    progress.step("labels", 1, 1)
    progress.step("splats", 0, 1)
    limit = config.reconstruction.splat_max_count or config.reconstruction.splat_budget
    splats = splats_on(patched, min(limit, config.reconstruction.splat_budget), seed=config.seed)
    progress.step("splats", 1, 1)
    metrics = {"faces": float(closed.face_count), "splats": float(len(splats))}
    return Reconstruction(mesh=closed, splats=splats, report=report, metrics=metrics)


def splats_on(mesh: TriMesh, budget: int, *, seed: int) -> GaussianCloud:
    """Flat splats spread evenly over a textured, labelled mesh."""
    area = mesh.face_areas_m2()
    total = float(area.sum())
    count = int(np.clip(SPLATS_A_M2 * total, 1000, budget))
    spacing = float(np.sqrt(total / count))
    rng = np.random.default_rng([seed, 0x73706C61])
    at = (np.arange(count) + rng.random()) / count * total
    face = np.minimum(np.searchsorted(np.cumsum(area), at), len(area) - 1)
    a, b = _plane_filling(count, rng)
    bary = np.stack([1 - a, a * (1 - b), a * b], -1)
    corner = mesh.triangles()[face]
    means = np.einsum("nk,nkc->nc", bary, corner)
    rgb = _colours(mesh, face, bary)
    thickness = THICKNESS * spacing
    scales = np.tile([SPREAD * spacing, SPREAD * spacing, thickness], (count, 1))
    return GaussianCloud(
        means=means.astype(np.float32),
        scales_m=scales.astype(np.float32),
        quats_wxyz=quat_wxyz_from_rotation(_frames(mesh.face_normals()[face])).astype(np.float32),
        opacities=np.full(count, OPACITY, np.float32),
        sh=sh_from_rgb(rgb),
        labels=None if mesh.face_labels is None else mesh.face_labels[face].astype(np.uint8),
    )


def _plane_filling(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Square root of one and another number in 0..1 that fill a triangle evenly: a Kronecker sequence."""
    k = np.arange(count)
    u = (rng.random() + k * 0.7548776662466927) % 1.0
    v = (rng.random() + k * 0.5698402909980532) % 1.0
    return np.sqrt(u), v


def _colours(mesh: TriMesh, face: np.ndarray, bary: np.ndarray) -> np.ndarray:
    """[N, 3] in 0..1."""
    if mesh.uv is not None and mesh.texture_u8 is not None:
        return sample_texture(mesh.texture_u8, np.einsum("nk,nkc->nc", bary, mesh.uv[face])) / 255
    if mesh.vertex_rgb_u8 is not None:
        return np.einsum("nk,nkc->nc", bary, mesh.vertex_rgb_u8[mesh.faces[face]].astype(float)) / 255
    return np.full((len(face), 3), 0.7)


def _frames(normals: np.ndarray) -> np.ndarray:
    """Rotations [N, 3, 3] whose third axis is the normal."""
    helper = np.where(np.abs(normals[:, :1]) > 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    a = np.cross(normals, helper)
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    return np.stack([a, np.cross(normals, a), normals], -1)
