"""Clutter in Isaac Lab: lidar and depth camera see it where it is, and whoever drives at it has touched it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab_cases import BACKENDS
from lab_process import run_lab
from lyra_tasks.planar_lidar import ray_angles
from lyra_tasks.robots.diff_drive import SIZES
from sample_worlds import simple_room
from task_worlds import write_world

trimesh = pytest.importorskip("trimesh")

WORKER = Path(__file__).with_name("clutter_worker.py")
SPEC = SIZES["medium"]


@pytest.fixture(scope="module", params=BACKENDS)
def met(request, tmp_path_factory) -> dict[str, np.ndarray]:
    """What `clutter_worker.py` wrote down."""
    folder = tmp_path_factory.mktemp(f"clutter_{request.param}")
    world = write_world(folder / "plain", simple_room())
    run_lab(WORKER, request.param, world, folder / "out.npz", cwd=folder)
    with np.load(folder / "out.npz") as file:
        return dict(file)


def meshes_of(met: dict[str, np.ndarray], env: int):
    """Everything that stands about in an environment, as one mesh; cylinders have many sides."""
    parts = []
    for k in np.flatnonzero(met["thing_there"][env]):
        height = float(met["thing_height_m"][env, k])
        if met["thing_radius_m"][env, k] > 0:
            part = trimesh.creation.cylinder(radius=float(met["thing_radius_m"][env, k]), height=height, sections=256)
        else:
            part = trimesh.creation.box(extents=[*(2 * met["thing_half_m"][env, k]), height])
        part.apply_transform(trimesh.transformations.rotation_matrix(met["thing_yaw"][env, k], [0, 0, 1]))
        part.apply_translation([*met["thing_xy_w"][env, k], height / 2])
        parts.append(part)
    return trimesh.util.concatenate(parts) if parts else None


def nearest_m(mesh, start: np.ndarray, along: np.ndarray, most_m: float) -> np.ndarray:
    """[R] distance along rays in their own lengths, by an independent ray caster."""
    origins = np.repeat(start[None], len(along), 0)
    places, ray, _ = mesh.ray.intersects_location(origins, along, multiple_hits=True)
    found = np.full(len(along), most_m)
    np.minimum.at(found, ray, np.linalg.norm(places - start, axis=1) / np.linalg.norm(along[ray], axis=1))
    return found


def compare(found, expected) -> None:
    """To 5 mm, but for rays that graze an edge."""
    assert (np.abs(found - expected) > 0.005).mean() < 0.02
    assert (np.abs(found - expected) > 0.005).sum() <= 0.02 * expected.size


def test_sensors_see_things_where_they_are(met):
    """Ray by ray the nearer of world and things; some rays of most robots meet one."""
    shortened = 0
    for env in np.flatnonzero(met["thing_there"].any(1)):
        mesh, yaw = meshes_of(met, env), met["yaw"][env]
        ahead_m, height_m = met["camera"]
        angle = yaw + ray_angles(met["lidar_m"].shape[1])
        along = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
        start = np.r_[met["xy"][env], height_m]
        compare(met["lidar_m"][env], np.minimum(met["plain_m"][env], nearest_m(mesh, start, along, 6.0)))
        shortened += int((met["lidar_m"][env] < met["plain_m"][env] - 0.05).any())
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        start = start + turn @ [ahead_m, 0, 0]
        depth = nearest_m(mesh, start, met["rays"] @ turn.T, 6.0)
        compare(met["depth_m"][env], np.minimum(met["plain_depth_m"][env], depth))
    assert shortened > 12


def test_whoever_drives_at_a_thing_has_touched_it(met):
    """The drive is over as soon as the footprint is closer than the margin that counts as touching."""
    assert met["free"].sum() > 12
    assert met["ended"][met["free"]].mean() > 0.9
    gap = met["gap_m"][met["free"] & met["ended"]]
    # The last look before the end, one step of 2 cm earlier at most.
    assert np.median(gap) < SPEC.footprint_radius_m + 0.01 + 0.03
    assert gap.min() > SPEC.footprint_radius_m - 0.03
