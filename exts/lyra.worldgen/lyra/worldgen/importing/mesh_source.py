"""A mesh of another program: read, cleaned, turned upright, wound into free space, its colours in one texture."""

from __future__ import annotations

import numpy as np

from ..core.config import WorldConfig
from ..core.errors import InputError
from ..core.frames import transform_points
from ..core.mesh import TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.report import Report
from .mesh_colours import face_luma, simplified_with_colours, textured
from .mesh_files import ReadMesh, read_mesh_file
from .records import ImportedScene, Source
from .samples import sample_mesh
from .settle import FileCustoms, settle
from .winding import wound_into_free_space

CUSTOMS = {
    # glTF defines both; exporters that ignore the unit are met in `size`.
    "glb": FileCustoms(up_odds={"y": 5.0}, unit_odds={"m": 1.0}, defined_unit="m"),
    "obj": FileCustoms(
        up_odds={"y": 1.5, "z": 1.5}, unit_odds={"m": 1.0, "cm": 0.5, "mm": 0.5, "in": 0.15, "ft": 0.15, "none": 0.3}
    ),
    "ply": FileCustoms(
        up_odds={"z": 1.5, "y": 1.0, "-y": 0.7},
        unit_odds={"m": 1.0, "cm": 0.2, "mm": 0.4, "in": 0.05, "ft": 0.05, "none": 0.5},
    ),
}
"""What files of a format are usually like."""
LEAST_FACES = 4
THIN = 1e-6
"""Faces whose area is below this share of their longest edge squared have no normal worth trusting."""


def read_mesh_source(source: Source, config: WorldConfig, *, progress: SupportsProgress = SILENT) -> ImportedScene:
    """The upright, textured mesh of a file.

    Raises:
        InputError: a damaged file, or one that holds no place with a floor.
        DependencyError: trimesh is missing.
    """
    cfg, report = config.source, Report()
    progress.step("import", 0, 4, "reading")
    read = read_mesh_file(source)
    kept = _whole_faces(read)
    if len(kept) < LEAST_FACES:
        raise InputError(f"the file holds {len(kept)} triangles with an area; expected a whole place: {source.path}")
    if read.notes["broken_triangles"]:
        report.warn("import.broken", f"{read.notes['broken_triangles']} triangles have no finite corners, left out")
    progress.step("import", 1, 4, "floor and size")
    raw = TriMesh(vertices=read.vertices, faces=read.faces[kept])
    customs = CUSTOMS["glb" if source.layout == "gltf" else source.layout]
    samples = sample_mesh(raw, face_luma(read)[kept], seed=config.seed)
    settled = settle(samples, cfg, customs, report, said=cfg.up_axis)
    progress.step("import", 2, 4, "colours")
    upright = transform_points(settled.T_scene_file, read.vertices)
    texture_px = config.reconstruction.texture_px
    if len(kept) > cfg.max_faces:
        mesh = simplified_with_colours(
            upright, read, kept, max_faces=cfg.max_faces, texture_px=texture_px, seed=config.seed
        )
        report.info("import.simplified", f"{len(kept):,} triangles were reduced to {mesh.face_count:,}")
    else:
        mesh = textured(TriMesh(vertices=upright, faces=read.faces[kept]), read, kept, texture_px=texture_px)
    progress.step("import", 3, 4, "winding")
    wound = wound_into_free_space(mesh, settled.Ts_scene_path[:, :3, 3], metres_per_unit=settled.scale.metres_per_unit)
    if wound.turned:
        report.info("import.winding", f"{wound.turned:,} triangles faced away from free space and were turned round")
    if wound.doubled:
        report.info("import.sheets", f"{wound.doubled:,} triangles are seen from both sides and got a second side")
    used = _without_unused(wound.mesh)
    facts = {
        **read.notes,
        "triangles_kept": used.face_count,
        "watertight": _watertight(used),
        "turned": wound.turned,
        "doubled": wound.doubled,
    }
    return ImportedScene(
        scale=settled.scale,
        mesh=used.validate(),
        Ts_world_path=settled.Ts_scene_path,
        backend=f"import-{source.layout}",
        facts={**facts, **settled.facts},
        report=report,
    )


def _whole_faces(read: ReadMesh) -> np.ndarray:
    """[K] int faces that have an area and occur once."""
    corner = read.vertices[read.faces]
    edges = np.roll(corner, -1, 1) - corner
    longest = np.linalg.norm(edges, axis=2).max(1)
    doubled_area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    whole = doubled_area > THIN * np.maximum(longest, 1e-300) ** 2
    return np.flatnonzero(whole)


def _without_unused(mesh: TriMesh) -> TriMesh:
    return mesh.select_faces(np.ones(mesh.face_count, bool))


def _watertight(mesh: TriMesh) -> bool:
    """Whether every edge, by position, is shared by two faces of one winding."""
    size = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-12)
    key = np.round((mesh.vertices - mesh.vertices.min(0)) / size * 1e6).astype(np.int64)
    _, inverse = np.unique(key, axis=0, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces]
    edges = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    code = edges[:, 0] * (int(faces.max()) + 1) + edges[:, 1]
    back = edges[:, 1] * (int(faces.max()) + 1) + edges[:, 0]
    return bool(len(np.unique(code)) == len(code) and np.array_equal(np.sort(code), np.sort(back)))
