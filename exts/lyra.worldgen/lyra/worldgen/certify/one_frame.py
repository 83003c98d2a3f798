"""Do splats, meshes and colliders share one frame? Read back from the written files, so slips of axes and units show.

The visible mesh of `payloads/visual.usdc` is the reference. Every other file is compared with it at thousands of
points: how far its surface lies off along the normal there. From these distances follow

- the shift of the centre of mass of each label,
- where the dominant planes lie and how they lean, and the edges in which they meet (floor against wall, two walls, the
  sides of boxes),
- the similarity that would bring the file onto the reference.

A shift along a surface shows on the surfaces across, so all of them together see every direction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DependencyError, InputError
from ..core.frames import rotation_from_quat_wxyz
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.raycast import Raycaster
from ..core.splats import GaussianCloud
from ..core.world import locate
from ..reconstruction.splat_io import read_splats
from ..sim.planes import Plane, level_planes, upright_planes
from ..sim.usd_read import read_colliders, read_splats_usd, read_visual
from .records import Line

SAMPLES = 20_000
REACH_M = 0.3
"""Surfaces are looked for this far along the normal."""
MATCHED_SHARE = 0.7
"""Below this share of points with a surface nearby the file is somewhere else altogether."""
LIMIT_CM, LIMIT_DEG = 1.0, 0.2
PLANE_TOLERANCE_M = 0.02
PLANE_AREA_M2 = 1.0
UPRIGHT_PLANES = 8
LEVEL_PLANES = 6
SPREAD_M = 0.4
"""How far points must spread (standard deviation) for their lean to mean something."""
FEWEST = 60
"""Points from which a label or a plane is judged."""
FACING_COS, FACING_SHARE = 0.5, 0.02
"""A label moves along a direction that at least this share of its points faces. Of walls that lean by a degree or two
nobody can tell how far they moved up."""
SOFT_M = 0.01
"""Distances beyond are weighted down: soft outlines and simplified furniture are not the frame."""


@dataclass(frozen=True, kw_only=True)
class FrameAgreement:
    """One file against the reference."""

    file: str
    matched_share: float
    """Share of points that have a surface within `REACH_M`."""
    shift_cm: dict[str, float]
    """Shift of the centre of mass by label, along the directions that its surface faces."""
    planes_cm: dict[str, float]
    """Offset of planes and of the edges in which they meet."""
    planes_deg: dict[str, float]
    """Lean of planes and of the edges in which they meet."""
    fit_cm: float
    """Displacement by the best similarity, root mean square over the world, turning left out."""
    fit_deg: float

    @property
    def offset_cm(self) -> float:
        """The largest offset; what lies out of reach counts as the reach at least."""
        worst = max(self.fit_cm, *self.shift_cm.values(), *self.planes_cm.values(), 0.0)
        return worst if self.matched_share >= MATCHED_SHARE else max(worst, 100 * REACH_M)

    @property
    def angle_deg(self) -> float:
        """The largest angle; what lies out of reach counts as a right angle."""
        worst = max(self.fit_deg, *self.planes_deg.values(), 0.0)
        return worst if self.matched_share >= MATCHED_SHARE else max(worst, 90.0)

    @property
    def worst(self) -> str:
        """What is farthest off."""
        centres = {f"the centre of mass of {name}": value for name, value in self.shift_cm.items()}
        parts = {**centres, **self.planes_cm, "everything together": self.fit_cm}
        return max(parts, key=lambda name: parts[name])

    def as_dict(self) -> dict[str, Any]:
        """JSON values; of planes and edges only how many there are and the largest difference."""
        return {
            "file": self.file,
            "matched_percent": round(100 * self.matched_share, 2),
            "offset_cm": round(self.offset_cm, 3),
            "angle_deg": round(self.angle_deg, 3),
            "centre_of_mass_cm": {name: round(value, 3) for name, value in self.shift_cm.items()},
            "planes_and_edges": len(self.planes_cm),
            "planes_and_edges_cm": round(max(self.planes_cm.values(), default=0.0), 3),
            "planes_and_edges_deg": round(max(self.planes_deg.values(), default=0.0), 3),
            "fit_cm": round(self.fit_cm, 3),
            "fit_deg": round(self.fit_deg, 3),
        }


def measure_frames(folder: Path) -> tuple[FrameAgreement, ...]:
    """Every geometric file of a world against `payloads/visual.usdc`.

    Args:
        folder: the world. Absent files are left out.

    Raises:
        InputError: a file cannot be read.
        DependencyError: a package that reads them is missing.
    """
    folder = Path(folder)
    reference = _Reference(read_visual(locate(folder, "payloads/visual.usdc"), texture=False))
    results = []
    surfaces: dict[str, Callable[[Path], TriMesh]] = {
        "payloads/collision.usdc": lambda path: read_colliders(path).mesh,
        "mesh.glb": _read_glb,
    }
    clouds = {"payloads/splats.usdc": read_splats_usd, "splats.ply": read_splats}
    for name, read in surfaces.items():
        if (path := locate(folder, name)).is_file():
            results.append(reference.judge(name, *reference.against_surface(read(path))))
    for name, read_cloud in clouds.items():
        if (path := locate(folder, name)).is_file():
            results.append(reference.judge(name, *reference.against_splats(read_cloud(path))))
    return tuple(results)


def frame_lines(folder: Path) -> tuple[list[Line], tuple[FrameAgreement, ...]]:
    """Lines about the common frame, and what they rest on; none for a world without a visual payload."""
    titles = {
        "frame.offset": "Splats, mesh and colliders lie in one place",
        "frame.angle": "Splats, mesh and colliders are turned alike",
    }
    limits = {"frame.offset": (LIMIT_CM, "cm"), "frame.angle": (LIMIT_DEG, "°")}
    if not locate(folder, "payloads/visual.usdc").is_file():
        return [], ()

    def line(id: str, measured: float | None, detail: str) -> Line:
        limit, unit = limits[id]
        return Line(id=id, title=titles[id], measured=measured, unit=unit, limit=limit, detail=detail)

    try:
        results = measure_frames(folder)
    except (InputError, DependencyError) as error:
        return [line(id, None, str(error).splitlines()[0]) for id in titles], ()
    if not results:
        return [], ()
    off, turned = max(results, key=lambda r: r.offset_cm), max(results, key=lambda r: r.angle_deg)
    names = ", ".join(Path(r.file).name for r in results)
    lost = [f"{r.file} lies elsewhere" for r in results if r.matched_share < MATCHED_SHARE]
    told = f" {'; '.join(lost)}." if lost else ""
    return [
        line(
            "frame.offset",
            off.offset_cm,
            f"{names} against visual.usdc as written: centres of mass by label, planes and the edges between them; "
            f"farthest off: {off.worst} in {Path(off.file).name}.{told}",
        ),
        line(
            "frame.angle",
            turned.angle_deg,
            f"Normals of the largest planes, directions of the edges between them, and the best turn of everything; "
            f"largest in {Path(turned.file).name}.{told}",
        ),
    ], results


class _Reference:
    """The visible mesh, points on it and its dominant planes."""

    def __init__(self, mesh: TriMesh) -> None:
        self.mesh = mesh
        assert mesh.face_labels is not None, "layers are read with labels"
        self.labels = mesh.face_labels
        self.solid = ~np.isin(self.labels, (Label.SKY, Label.BACKDROP))
        if not self.solid.any():
            raise InputError("the visual payload holds nothing but sky")
        self.caster = Raycaster(mesh)
        self.normals = mesh.face_normals()
        self.planes = _dominant_planes(mesh, self.solid)

    def against_surface(self, other: TriMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points on the reference [N, 3], their faces [N] and how far the other surface lies off [N] (NaN: nowhere)."""
        points, face = sample_surface(self.mesh, np.where(self.solid, self.mesh.face_areas_m2(), 0.0), SAMPLES, seed=21)
        distance, _ = _nearest(Raycaster(other), points, self.normals[face])
        return points, face, distance

    def against_splats(self, cloud: GaussianCloud) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for splats; those of sky and scenery are left out."""
        ordered = np.sort(cloud.scales_m, 1).astype(np.float64)
        weight = ordered[:, 1] * ordered[:, 2] * cloud.opacities
        rng = np.random.default_rng(22)
        rows = _weighted_rows(rng, weight, SAMPLES)
        axes = rotation_from_quat_wxyz(cloud.quats_wxyz[rows].astype(np.float64))
        thin = np.argmin(cloud.scales_m[rows], 1)
        normal = axes[np.arange(len(rows)), :, thin]
        points = cloud.means[rows].astype(np.float64)
        along, face = _nearest(self.caster, points, normal)
        hit = face >= 0
        # From the surface to the splat, measured across the surface.
        off = -along * np.einsum("ij,ij->i", normal, self.normals[np.maximum(face, 0)])
        keep = ~hit | self.solid[np.maximum(face, 0)]
        return points[keep], face[keep], np.where(hit, off, np.nan)[keep]

    def judge(self, file: str, points: np.ndarray, face: np.ndarray, distance: np.ndarray) -> FrameAgreement:
        """Everything that distances along the reference's normals say."""
        hit = np.isfinite(distance)
        share = float(hit.mean()) if len(hit) else 0.0
        points, face, distance = points[hit], face[hit], distance[hit]
        normal, label = self.normals[face], self.labels[face]
        shift = {}
        for value in np.unique(label):
            mine = label == value
            if mine.sum() >= FEWEST:
                move = _shift(normal[mine], distance[mine])
                shift[Label(int(value)).name.lower()] = 100 * float(np.linalg.norm(move))
        planes_cm, planes_deg = self._compare_planes(points, face, distance)
        fit_cm, fit_deg = _fit(points, normal, distance)
        return FrameAgreement(
            file=file,
            matched_share=share,
            shift_cm=shift,
            planes_cm=planes_cm,
            planes_deg=planes_deg,
            fit_cm=fit_cm,
            fit_deg=fit_deg,
        )

    def _compare_planes(
        self, points: np.ndarray, face: np.ndarray, distance: np.ndarray
    ) -> tuple[dict[str, float], dict[str, float]]:
        offsets, angles, fitted = {}, {}, {}
        for name, plane in self.planes.items():
            mine = np.isin(face, plane.faces)
            if mine.sum() < FEWEST:
                continue
            normal, centre, off = _refit(plane.normal_world, points[mine], distance[mine])
            fitted[name] = (plane.normal_world, normal, centre, off)
            offsets[name] = 100 * abs(off)
            angles[name] = _degrees(plane.normal_world, normal)
        for (a, (na, ma, ca, oa)), (b, (nb, mb, cb, ob)) in itertools.combinations(fitted.items(), 2):
            if abs(na @ nb) > 0.5 or not _touch(self.mesh, self.planes[a], self.planes[b]):
                continue
            middle = 0.5 * (ca + cb)
            was = _edge_point(na, na @ ca, nb, nb @ cb, middle)
            now = _edge_point(ma, ma @ ca + oa, mb, mb @ cb + ob, middle)
            edge = f"the edge of {a} and {b}"
            offsets[edge] = 100 * float(np.linalg.norm(now - was))
            angles[edge] = _degrees(np.cross(na, nb), np.cross(ma, mb))
        return offsets, angles


def sample_surface(mesh: TriMesh, weight: np.ndarray, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` points [N, 3] on the mesh and their faces [N], drawn by `weight` [F] per face."""
    rng = np.random.default_rng(seed)
    face = np.sort(_weighted_rows(rng, weight, count))
    a, b = rng.random((2, count))
    fold = a + b > 1
    a, b = np.where(fold, 1 - a, a), np.where(fold, 1 - b, b)
    corner = mesh.triangles()[face]
    points = corner[:, 0] + a[:, None] * (corner[:, 1] - corner[:, 0]) + b[:, None] * (corner[:, 2] - corner[:, 0])
    return points, face


def _weighted_rows(rng: np.random.Generator, weight: np.ndarray, count: int) -> np.ndarray:
    total = np.cumsum(np.asarray(weight, np.float64))
    return np.minimum(np.searchsorted(total, rng.random(count) * total[-1], "right"), len(total) - 1)


def _nearest(caster: Raycaster, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance [N] along the normal to the nearest surface (NaN beyond reach) and its face [N] (-1).

    Surfaces that are not nearly parallel are somebody else's.
    """
    best, face = np.full(len(points), np.inf), np.full(len(points), -1)
    own = caster.mesh.face_normals()
    back_off = 1e-3  # a surface that is exactly here must not be missed
    for sign in (1.0, -1.0):
        t, hit, _ = caster.cast(points - sign * back_off * normals, sign * normals)
        t = t - back_off
        parallel = np.abs(np.einsum("ij,ij->i", own[np.maximum(hit, 0)], normals)) > 0.9
        better = (hit >= 0) & parallel & (np.abs(t) < np.abs(best)) & (np.abs(t) <= REACH_M)
        best, face = np.where(better, sign * t, best), np.where(better, hit, face)
    return np.where(np.isfinite(best), best, np.nan), face


def _robust(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x of A x = b by iteratively reweighted least squares; what nothing determines stays 0."""
    x = np.zeros(A.shape[1])
    if not len(x):
        return x
    ridge = 1e-4 * max(float(np.einsum("ij,ij->", A, A)) / A.shape[1], 1e-12)
    for _ in range(8):
        residual = np.abs(A @ x - b)
        weight = SOFT_M / np.maximum(residual, SOFT_M)
        x = np.linalg.solve((A * weight[:, None]).T @ A + ridge * np.eye(A.shape[1]), (A * weight[:, None]).T @ b)
    return x


def _shift(normal: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """[3] shift that explains distances [N] along normals [N, 3], in the directions that enough normals face."""
    weight = SOFT_M / np.maximum(np.abs(distance - np.median(distance)), SOFT_M)
    _, axes = np.linalg.eigh((normal * weight[:, None]).T @ normal)
    across = normal @ axes
    facing = (np.abs(across) > FACING_COS).sum(0)
    known = facing >= max(FEWEST, FACING_SHARE * len(normal))
    return axes[:, known] @ _robust(across[:, known], distance)


def _fit(points: np.ndarray, normal: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """Displacement [cm] and turn [deg] of the similarity that explains the distances best."""
    if len(points) < FEWEST:
        return 100 * REACH_M, 90.0
    arm = points - np.median(points, 0)
    radius = max(float(np.sqrt((arm**2).sum(1).mean())), 1e-6)
    # Unknowns in metres at the world's rim: shift, turn times radius, growth times radius.
    A = np.column_stack([normal, np.cross(arm, normal) / radius, np.einsum("ij,ij->i", normal, arm) / radius])
    x = _robust(A, distance)
    moved = math.hypot(float(np.linalg.norm(x[:3])), float(x[6]))
    return 100 * moved, math.degrees(float(np.linalg.norm(x[3:6])) / radius)


def _refit(normal: np.ndarray, points: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Normal of the plane through points moved by their distances, a point of the old plane, and the offset there."""
    centre = points.mean(0)
    first = np.cross(normal, [0.0, 0.0, 1.0] if abs(normal[2]) < 0.9 else [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    flat = (points - centre) @ np.stack([first, np.cross(normal, first)], -1)
    # Along a direction in which the points hardly spread, their lean is not known and stays.
    _, axes = np.linalg.eigh(flat.T @ flat)
    flat = flat @ axes
    wide = flat.std(0) >= SPREAD_M
    x = _robust(np.column_stack([np.ones(len(flat)), flat * wide]), distance)
    slope = (np.stack([first, np.cross(normal, first)], -1) @ axes) @ np.where(wide, x[1:], 0.0)
    leaning = normal - slope
    return leaning / np.linalg.norm(leaning), centre, float(x[0])


def _edge_point(na: np.ndarray, oa: float, nb: np.ndarray, ob: float, near: np.ndarray) -> np.ndarray:
    """The point nearest to `near` on the line in which the planes n @ p = o meet."""
    along = np.cross(na, nb)
    return np.linalg.solve(np.stack([na, nb, along]), np.array([oa, ob, along @ near]))


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    sine = np.linalg.norm(np.cross(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b))
    return math.degrees(math.asin(min(float(sine), 1.0)))


def _touch(mesh: TriMesh, a: Plane, b: Plane) -> bool:
    """Whether two planes' faces have a common edge, give or take a few centimetres."""
    corners_a = mesh.triangles()[a.faces].reshape(-1, 3)
    near = np.abs(b.distance_m(corners_a)) < 0.05
    corners_b = mesh.triangles()[b.faces].reshape(-1, 3)
    also = np.abs(a.distance_m(corners_b)) < 0.05
    if near.sum() < 2 or also.sum() < 2:
        return False
    along = np.cross(a.normal_world, b.normal_world)
    on_a, on_b = corners_a[near] @ along, corners_b[also] @ along
    return bool(min(on_a.max(), on_b.max()) - max(on_a.min(), on_b.min()) > 0.3)


def _dominant_planes(mesh: TriMesh, solid: np.ndarray) -> dict[str, Plane]:
    """Floor, ceiling, walls and sides of things by name, largest first."""
    assert mesh.face_labels is not None
    tight: dict[str, float] = {"tolerance_m": PLANE_TOLERANCE_M, "min_area_m2": PLANE_AREA_M2}
    # Open country has hundreds of level patches; those with most area are found first, give or take a few.
    floors = level_planes(mesh, solid & (mesh.face_labels == Label.FLOOR), up=True, max_planes=LEVEL_PLANES, **tight)
    tops = level_planes(mesh, solid & (mesh.face_labels != Label.FLOOR), up=True, max_planes=LEVEL_PLANES, **tight)
    ceilings = level_planes(mesh, solid, up=False, max_planes=LEVEL_PLANES, **tight)
    walls = upright_planes(mesh, solid, max_planes=UPRIGHT_PLANES, **tight)
    named: dict[str, Plane] = {}
    for stem, found, most in (("floor", floors, 1), ("top", tops, 2), ("ceiling", ceilings, 1), ("wall", walls, 99)):
        for i, plane in enumerate(found[:most]):
            named[f"the {stem}" if most == 1 else f"{stem} {i + 1}"] = plane
    return named


def _read_glb(path: Path) -> TriMesh:
    """Triangles of a glTF file, which has +Y up, in the world."""
    trimesh = require("trimesh", extra="recon")
    try:
        scene = trimesh.load_scene(path, skip_materials=True)
        soup = scene.to_geometry() if hasattr(scene, "to_geometry") else scene.dump(concatenate=True)
    except Exception as error:  # the reader raises whatever its parts raise
        raise InputError(f"mesh cannot be read ({type(error).__name__}): {path}") from error
    x, y, z = np.asarray(soup.vertices, float).T
    mesh = TriMesh(vertices=np.stack([x, -z, y], -1), faces=np.asarray(soup.faces, np.int32))
    if not mesh.face_count:
        raise InputError(f"mesh has no faces: {path}")
    return mesh.validate()
