"""Known scenes as other programs would save them: splats in foreign axes and units with floaters, meshes with holes."""

from __future__ import annotations

import numpy as np

from known_scenes import KnownScene, known_scene
from lyra.worldgen.core.frames import quat_wxyz_from_rotation, rigid, rotation_x, rotation_y, rotation_z
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb, transform_splats

Y_DOWN = rotation_x(-np.pi / 2).T
"""R_file_world of files whose +Y points down."""


def foreign_axes(seed: int, *, base: np.ndarray = Y_DOWN, tilt_deg: float = 3.0) -> np.ndarray:
    """R_file_world [3, 3]: conventional axes, turned about the vertical and tilted a little, as trainers leave them."""
    rng = np.random.default_rng([seed, 0xF07E])
    a, b = np.radians(rng.uniform(-tilt_deg, tilt_deg, 2))
    return base @ rotation_x(a) @ rotation_y(b) @ rotation_z(rng.uniform(-np.pi, np.pi))


def scanned_splats(
    scene: KnownScene, *, count: int = 200_000, noise_m: float = 0.004, floaters: int = 400
) -> GaussianCloud:
    """The truth as discs on its surfaces in the world frame, with noise, a few holes' worth of haze, and floaters."""
    rng = np.random.default_rng([scene.seed, 0x5CA7])
    truth = scene.truth
    samples, face = sample_mesh_faces(truth, count)
    points = samples + rng.normal(0, noise_m, samples.shape)
    normals = truth.face_normals()[face]
    spacing = float(np.sqrt(truth.face_areas_m2().sum() / count))
    scales = np.exp(rng.normal(0, 0.2, (count, 3))) * spacing * np.array([1.0, 1.0, 0.1])
    rgb = scene.colour(samples, face) / 255
    opacities = np.clip(rng.normal(0.93, 0.05, count), 0.4, 0.995)
    quats = quat_wxyz_from_rotation(_frames(normals, rng))
    low, high = truth.bounds()
    lone = rng.uniform(low - 1.5, high + 1.5, (floaters, 3))
    extra = GaussianCloud(
        means=lone.astype(np.float32),
        scales_m=np.exp(rng.normal(np.log(0.05), 0.8, (floaters, 3))).astype(np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (floaters, 1)),
        opacities=rng.uniform(0.02, 0.6, floaters).astype(np.float32),
        sh=sh_from_rgb(rng.random((floaters, 3))),
    )
    return GaussianCloud(
        means=np.concatenate([points, extra.means]).astype(np.float32),
        scales_m=np.concatenate([scales, extra.scales_m]).astype(np.float32),
        quats_wxyz=np.concatenate([quats, extra.quats_wxyz]).astype(np.float32),
        opacities=np.concatenate([opacities, extra.opacities]).astype(np.float32),
        sh=np.concatenate([sh_from_rgb(rgb), extra.sh]),
    )


def sample_mesh_faces(mesh: TriMesh, count: int, *, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] spread over a mesh by area, and the face [N] of each."""
    rng = np.random.default_rng(seed)
    area = mesh.face_areas_m2()
    face = rng.choice(len(area), count, p=area / area.sum())
    a, b = np.sqrt(rng.random((2, count)) * [[1], [1]])
    b = b**2
    corner = mesh.triangles()[face]
    points = corner[:, 0] * (1 - a)[:, None] + corner[:, 1] * (a * (1 - b))[:, None] + corner[:, 2] * (a * b)[:, None]
    return points, face


def _frames(normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotations [N, 3, 3] whose third axis is the normal, turned about it at random."""
    helper = np.where(np.abs(normals[:, :1]) > 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    a = np.cross(normals, helper)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(normals, a)
    turn = rng.uniform(0, 2 * np.pi, len(normals))[:, None]
    first = np.cos(turn) * a + np.sin(turn) * b
    return np.stack([first, np.cross(normals, first), normals], -1)


def in_file(
    R_file_world: np.ndarray, units_per_metre: float, splats: GaussianCloud, offset: np.ndarray
) -> GaussianCloud:
    """A world's splats in the axes and units of a file."""
    return transform_splats(rigid(R_file_world * units_per_metre, offset), splats)


def mesh_in_file(R_file_world: np.ndarray, units_per_metre: float, mesh: TriMesh, offset: np.ndarray) -> TriMesh:
    """A world's mesh in the axes and units of a file."""
    from dataclasses import replace

    return replace(mesh, vertices=mesh.vertices @ (R_file_world * units_per_metre).T + offset)


def room_glb(seed: int) -> bytes:
    """A room with coloured corners, as a binary glTF."""
    import trimesh

    truth = known_scene(seed).truth
    rgba = np.random.default_rng(seed).integers(0, 256, (3 * truth.face_count, 4), np.uint8)
    rgba[:, 3] = 255
    faces = np.arange(3 * truth.face_count).reshape(-1, 3)
    mesh = trimesh.Trimesh(truth.triangles().reshape(-1, 3), faces, vertex_colors=rgba, process=False)
    data = mesh.export(file_type="glb")
    assert isinstance(data, bytes)
    return data
