"""Posed pictures with depth become an upright, closed scene in metres, whatever axes and unit their poses have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.config import config_from_dict
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.importing.kinds import READERS, find_source
from lyra.worldgen.importing.view_consistency import DepthPicture, agreement, depth_factor
from lyra.worldgen.importing.view_samples import depth_normals
from posed_scans import any_similarity, write_colmap, write_transforms
from rooms import AnalyticRoom, analytic_room


def walk(room: AnalyticRoom) -> list:
    """Ten exact views from around the middle of the room."""
    poses = [
        camera_pose(np.array([0.9 * np.cos(a), 0.9 * np.sin(a), 1.3 + 0.1 * np.cos(3 * a)]), heading_rad=a + turn)
        for a, turn in zip(np.arange(10) * 0.63, [0.4, -0.5] * 5, strict=True)
    ]
    pitched = [T @ camera_tilt(-0.35 if i % 2 else -0.1) for i, T in enumerate(poses)]
    return [room.render(None, T, view_id=i) for i, T in enumerate(pitched)]


def camera_tilt(pitch_rad: float) -> np.ndarray:
    """[4, 4] turns a camera up in its own frame."""
    level = camera_pose(np.zeros(3))
    return np.linalg.inv(level) @ camera_pose(np.zeros(3), pitch_rad=pitch_rad)


@pytest.fixture(scope="module")
def views():
    return walk(analytic_room(width_px=96, height_px=72, hfov_deg=90))


def read(path: Path, **source: object):
    return READERS.load("views")(find_source(path), config_from_dict({"source": source}))


def pictures_of(views, scale: float) -> list[DepthPicture]:
    return [DepthPicture(camera=v.camera, T_world_cam=v.T_world_cam, depth_z=v.depth_z_m * scale) for v in views]


@pytest.mark.slow
def test_depth_and_poses_prove_each_other(views):
    """True depth agrees with the poses, and a wrong unit is found to a tenth of a percent."""
    assert agreement(pictures_of(views, 1.0), np.array([1.0, 1.3, 0.5])).tolist()[0] > 0.8
    factor, share = depth_factor(pictures_of(views, 1000.0))
    assert factor == pytest.approx(1e-3, rel=3e-3) and share > 0.8
    others = pictures_of(views[3:], 1.0)
    swapped = [replace(p, depth_z=q.depth_z) for p, q in zip(pictures_of(views, 1.0), others, strict=False)]
    assert agreement(swapped, np.array([1.0]))[0] < 0.35


def test_normals_face_the_camera(views):
    """Normals of a depth map are those of the room's surfaces."""
    view = views[0]
    normal, ok = depth_normals(view.camera, view.depth_z_m)
    world = normal @ view.T_world_cam[:3, :3].T
    assert ok.mean() > 0.8
    # At creases both surfaces take part.
    for label, slope in ((Label.FLOOR, 1.0), (Label.WALL, 0.0), (Label.CEILING, -1.0)):
        off = np.abs(world[ok & (view.labels == label)][:, 2] - slope)
        assert np.quantile(off, 0.75) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "depth"), [(write_colmap, ".npy"), (write_transforms, ".png")])
def test_posed_depth_becomes_an_upright_closed_scene(tmp_path, views, writer, depth):
    """Up, floor, ceiling and, from millimetres, the size are found; labels are right; the surface is closed."""
    similarity = any_similarity(5)
    told = {} if depth == ".png" else {"metres_per_unit": 1 / similarity.scale}
    scene = read(writer(tmp_path / "scan", views, similarity, depth=depth), **told)
    T, factor = np.array(scene.facts["T_scene_file"]), scene.scale.metres_per_unit
    assert factor * similarity.scale == pytest.approx(1.0, rel=5e-3)
    np.testing.assert_allclose(T[2, :3], similarity.R @ [0, 0, 1], atol=2e-3)
    heights = similarity.points(np.array([[0.0, 0, 0], [1, 1, 0], [-1, 2, 2.8]])) @ T[2, :3] + T[2, 3]
    np.testing.assert_allclose(heights * factor, [0, 0, 2.8], atol=0.01)
    true = np.concatenate([v.labels.ravel() for v in views])
    order = [next(i for i, v in enumerate(views) if np.array_equal(v.rgb_u8, s.rgb_u8)) for s in scene.views.views]
    got = np.concatenate([scene.views.views[order.index(i)].labels.ravel() for i in range(len(views))])
    assert (got == true).mean() > 0.95
    surface = scene.views.proxy
    floor = surface.select_faces(surface.face_labels == Label.FLOOR)
    assert np.abs(np.median(floor.triangles()[..., 2])) * factor < 0.02


@pytest.mark.slow
def test_depth_of_other_pictures_is_refused(tmp_path, views):
    """Depth maps that do not belong to their pictures contradict one another."""
    shuffled = [replace(v, depth_z_m=w.depth_z_m) for v, w in zip(views, views[3:] + views[:3], strict=True)]
    with pytest.raises(InputError, match="do not fit together"):
        read(write_transforms(tmp_path / "a", shuffled, any_similarity(6), depth=".npy"))


def test_depth_maps_of_nothing_are_refused(tmp_path, views):
    """The refusal says how much they cover."""
    holes = [replace(v, valid=np.zeros_like(v.valid)) for v in views]
    with pytest.raises(InputError, match="cover 0%"):
        read(write_transforms(tmp_path / "b", holes, any_similarity(6), depth=".npy"))
