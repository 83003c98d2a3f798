"""Contact sheet, film and thumbnail: drawn from the folder alone, the same every time, and true to the mesh."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.certify.world_data import read_world
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.preview import film, write_preview
from lyra.worldgen.preview.colliders import draw_wireframe
from lyra.worldgen.preview.film import film_poses
from lyra.worldgen.preview.raster import MeshRasteriser
from lyra.worldgen.preview.run import origin_word, read_certificate, traces_of
from lyra.worldgen.preview.sheet import WIDTH_PX, Chip, Tile, draw_sheet
from lyra.worldgen.sim.usd_read import read_colliders
from physx_rooms import textured, write_room_world
from rooms import analytic_room

POSES = [
    camera_pose(np.array([0.0, 0.0, 1.5])),
    camera_pose(np.array([1.0, -2.0, 0.4]), heading_rad=2.0, pitch_rad=0.4, roll_rad=0.2),
    camera_pose(np.array([4.95, 2.9, 2.7]), heading_rad=-2.5, pitch_rad=-0.6),
]


@pytest.mark.parametrize("T_world_cam", POSES, ids=["level", "low and tilted", "in a corner"])
def test_rasteriser_agrees_with_ray_casting(T_world_cam):
    """Depth is equal where both see one face; faces and colours differ at outlines only."""
    mesh = textured(analytic_room().mesh())
    camera = PinholeCamera.from_hfov(160, 120, math.radians(80))
    got, want = MeshRasteriser(mesh).render(camera, T_world_cam), Raycaster(mesh).render(camera, T_world_cam)
    same = got.face == want.face
    assert same.mean() > 0.995
    np.testing.assert_allclose(got.depth_z_m[same], want.depth_z_m[same], rtol=1e-9)
    difference = np.abs(got.rgb_u8.astype(int) - want.shade(mesh))[same]
    # Colours are blended in 1/256 steps; far texels come from the coarser level.
    assert np.median(difference) <= 1 and difference.mean() < 3


def test_rasteriser_cuts_at_the_near_plane():
    """A floor that reaches behind the camera is drawn to the lower border, without wrapping around."""
    floor = TriMesh(
        vertices=np.array([[-50.0, -50, 0], [50, -50, 0], [50, 50, 0], [-50, 50, 0]]),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )
    camera = PinholeCamera.from_hfov(64, 48, math.radians(90))
    image = MeshRasteriser(floor).render(camera, camera_pose(np.array([0.0, 0.0, 1.0])))
    assert (image.face[:24] < 0).all() and (image.face[25:] >= 0).all()
    v = np.arange(48)[25:] + 0.5
    np.testing.assert_allclose(image.depth_z_m[25:, 10], camera.fy_px / (v - 24), rtol=1e-9)


def test_supersampling_keeps_the_picture():
    """Averaging 2x2 changes outlines, not the mean colour."""
    mesh = textured(analytic_room().mesh())
    camera = PinholeCamera.from_hfov(64, 48, math.radians(80))
    rasteriser = MeshRasteriser(mesh)
    one, two = rasteriser.render(camera, POSES[0]), rasteriser.render(camera, POSES[0], supersample=2)
    assert two.rgb_u8.shape == one.rgb_u8.shape and two.face.shape == one.face.shape
    assert abs(float(one.rgb_u8.mean()) - float(two.rgb_u8.mean())) < 1.0


@pytest.fixture
def short_film(monkeypatch):
    """A film of half a second, so that tests stay quick."""
    monkeypatch.setattr(film, "SHORTEST_S", 0.5)
    monkeypatch.setattr(film, "LONGEST_S", 0.5)


@pytest.fixture
def world(tmp_path) -> Path:
    write_room_world(tmp_path / "room")
    return tmp_path / "room"


def assert_plays(path: Path) -> None:
    """The film decodes to frames of its size that are not all the same."""
    cv2 = pytest.importorskip("cv2")
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(got[1])
    assert len(frames) == round(0.5 * film.FPS)
    assert frames[0].shape == (film.SIZE_PX[1], film.SIZE_PX[0], 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 3


@pytest.mark.slow
def test_preview_of_a_room(world, short_film):
    """All files appear, nothing else changes, and a second run gives the same bytes."""
    from PIL import Image

    before = {p for p in world.rglob("*") if p.is_file()}
    names = write_preview(world)
    assert set(names) == {"preview.png", "walkthrough.mp4", ".thumbs/256x256/world.usda.png"}
    assert {p for p in world.rglob("*") if p.is_file()} - before == {world / name for name in names}
    with Image.open(world / "preview.png") as sheet:
        assert sheet.width == WIDTH_PX and sheet.height > 1000
    with Image.open(world / ".thumbs/256x256/world.usda.png") as thumb:
        assert thumb.size == (256, 256)
    assert_plays(world / "walkthrough.mp4")
    first = {name: (world / name).read_bytes() for name in names}
    write_preview(world)
    assert {name: (world / name).read_bytes() for name in names} == first


def test_a_sheet_calls_what_went_in_by_its_name(world):
    """A view of a panorama is no photo."""
    made = read_world(world)
    assert origin_word(made) == "photo"
    assert origin_word(replace(made, manifest={"source": {"name": "a.png", "kind": "panorama"}})) == "panorama"


def test_film_follows_the_path():
    """Poses start and end on the path, move evenly, and stay rigid."""
    path = np.stack([camera_pose(np.array([x, 0.0, 1.5]), heading_rad=h) for x, h in ((0, 0), (3, 0), (3, 1.5))])
    poses = film_poses(path, path[0])
    np.testing.assert_allclose(poses[0], path[0], atol=0.2)
    np.testing.assert_allclose(poses[-1], path[-1], atol=1e-6)
    R = poses[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-9)
    assert np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() < 0.2


def test_a_very_long_path_is_cut():
    """No film is longer than the limit, and none races."""
    path = np.stack([camera_pose(np.array([float(x), 0.0, 1.5])) for x in range(200)])
    poses = film_poses(path, path[0])
    assert len(poses) == round(film.LONGEST_S * film.FPS)
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).max() * film.FPS
    assert speed <= film.WALK_M_S * film.HURRY * 1.05


def test_without_a_path_the_film_turns():
    """A world that was not explored is shown by one full turn."""
    poses = film_poses(np.zeros((0, 4, 4)), POSES[0])
    headings = np.unwrap(np.arctan2(poses[:, 1, 2], poses[:, 0, 2]))
    assert abs(headings[-1] - headings[0]) == pytest.approx(2 * np.pi, abs=1e-6)


def test_wireframe_lies_on_the_surfaces(world):
    """Colliders read from the stage are where the room is, and edges are drawn where two sides meet."""
    pytest.importorskip("pxr")
    colliders = read_colliders(world / "world_scene.usda")
    assert colliders.boxes == 8  # six slabs and two boxes; the safety plane is not one
    camera = PinholeCamera.from_hfov(160, 120, math.radians(80))
    seen = Raycaster(colliders.mesh).render(camera, POSES[0]).depth_z_m
    np.testing.assert_allclose(seen, Raycaster(read_world(world).mesh).render(camera, POSES[0]).depth_z_m, atol=1e-6)
    picture = draw_wireframe(colliders, camera, POSES[0], np.zeros((120, 160, 3), np.uint8))
    drawn = (picture > 30).any(-1).mean()
    assert 0.005 < drawn < 0.15


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"drives": [{"reached": true, "trace_xy_m": [[0, 0], [2, 2]]}]}', 1),
        ('{"drives": [{"trace_xy_m": "x"}, {"reached": true, "trace_xy_m": [[0, NaN], [1, 1]]}]}', 0),
        ('{"drives": 3}', 0),
        ("[1]", 0),
        ("{", 0),
    ],
)
def test_traces_come_from_the_certificate(tmp_path, text, count):
    """Driven traces are read where they make sense; a damaged certificate is as good as none."""
    (tmp_path / "certificate.json").write_text(text)
    assert len(traces_of(read_certificate(tmp_path).get("drives"))) == count


def test_foreign_folders_are_refused(tmp_path):
    """An empty folder gets one line, not pictures."""
    with pytest.raises(InputError, match="world_scene"):
        write_preview(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_damaged_extras_do_not_stop_the_preview(world, short_film):
    """A damaged splat file, photo or certificate leaves a caption instead of a picture."""
    (world / "certificate.json").write_text(
        '{"drives": [{"reached": true, "trace_xy_m": [[0, 0], [2, 2]]}], "verdict": 7}'
    )
    (world / "splats.ply").write_bytes(b"ply\nnonsense")
    (world / "photo.png").write_bytes(b"\x89PNG\r\n")
    assert "preview.png" in write_preview(world)


@pytest.mark.parametrize("title", ["", "x" * 400, "π ≠ 3 🚪", "a\nb"])
def test_sheet_takes_any_title(title):
    """Long, empty and foreign names fit the strip."""
    sheet = draw_sheet(title, [Chip(text="33 m² to drive")], [([Tile(rgb_u8=None, caption="empty")], 0.1)])
    assert sheet.shape[1] == WIDTH_PX and sheet.dtype == np.uint8


def test_a_long_caption_stays_within_its_tile():
    """Beside it lies the next tile, which it must not cover."""
    grey = np.full((30, 40, 3), 128, np.uint8)

    def sheet(caption: str) -> np.ndarray:
        return draw_sheet("world", [], [([Tile(rgb_u8=grey, caption=caption), Tile(rgb_u8=grey, caption="")], 0.75)])

    changed = np.flatnonzero((sheet("x" * 400) != sheet("")).any((0, 2)))
    assert len(changed) and changed.max() < WIDTH_PX // 2
