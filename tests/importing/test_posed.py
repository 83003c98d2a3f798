"""Posed pictures of other programs: the same cameras from every layout, and clear refusals of what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.importing.colmap import read_colmap
from lyra.worldgen.importing.kinds import find_source
from lyra.worldgen.importing.posed import Lens, spread_frames
from lyra.worldgen.importing.posed_pictures import read_depth, straighten
from lyra.worldgen.importing.posed_set import PosedPicture, find_posed_set, load_pictures
from posed_scans import Similarity, any_similarity, write_colmap, write_lyra, write_transforms
from rooms import analytic_room

WRITERS = {"colmap": write_colmap, "transforms": write_transforms, "npz": write_lyra}


@pytest.fixture(scope="module")
def views():
    """Four views of the room."""
    room = analytic_room(width_px=48, height_px=36)
    poses = [room.T_world_cam, *(camera_pose(np.array([0.4 * k, 0.2, 1.3]), heading_rad=k) for k in (1, 2, 3))]
    return [room.render(None, T, view_id=i) for i, T in enumerate(poses)]


def load(path: Path, **more: int) -> list[PosedPicture]:
    return load_pictures(find_posed_set(find_source(path)), **more)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("depth", [".npy", ".npz", ".exr", ".png"])
def test_every_layout_tells_the_same_cameras(tmp_path, views, layout, depth):
    """Poses, intrinsics, pixels and depth come back as they were, whatever the layout."""
    similarity = any_similarity(3)
    pictures = load(WRITERS[layout](tmp_path / "scan", views, similarity, depth=depth))
    assert len(pictures) == len(views)
    for picture, view in zip(pictures, views, strict=True):
        np.testing.assert_allclose(picture.T_file_cam, similarity.pose(view.T_world_cam), atol=2e-6)
        np.testing.assert_allclose(picture.camera.K_px, view.camera.K_px, atol=1e-4)
        np.testing.assert_array_equal(picture.rgb_u8, view.rgb_u8)
        # Pictures hold millimetres, whatever the unit of the poses; numbers are in that unit.
        in_file = 1000.0 if depth == ".png" else similarity.scale
        np.testing.assert_allclose(picture.depth_z, view.depth_z_m * in_file, atol=0.51 if depth == ".png" else 1e-5)
        assert picture.depth_unit_m == (0.001 if depth == ".png" else None)


def test_poses_bring_their_pictures_and_depth(tmp_path, views):
    """Given by its camera path alone, a scan's pictures and depth maps are found, and its hash covers them."""
    folder = write_lyra(tmp_path / "scan", views, any_similarity(4), depth=".npz")
    source = find_source(folder / "trajectory.npz")
    assert len(source.files) == 1 + 2 * len(views)
    assert all(picture.depth_z is not None for picture in load(folder / "trajectory.npz"))
    (folder / "depth" / "0001.npz").write_bytes((folder / "depth" / "0002.npz").read_bytes())
    assert find_source(folder / "trajectory.npz").sha256 != source.sha256


def test_a_video_with_poses(tmp_path, views):
    """Frame i of the video belongs to pose i; a video that is too short or has no poses is refused."""
    cv2 = pytest.importorskip("cv2")
    folder = write_lyra(tmp_path / "scan", views, any_similarity(1))
    for picture in (folder / "images").iterdir():
        picture.unlink()
    (folder / "images").rmdir()

    def film(count: int) -> Path:
        path = folder / "walk.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (48, 36))
        for view in views[:count]:
            writer.write(np.ascontiguousarray(view.rgb_u8[..., ::-1]))
        writer.release()
        return path

    pictures = load(film(4))
    assert len(pictures) == 4
    for picture, view in zip(pictures, views, strict=True):
        assert np.abs(picture.rgb_u8.astype(int) - view.rgb_u8).mean() < 20
    assert len(load(folder / "trajectory.npz")) == 4
    told = find_source(folder / "walk.mp4")
    assert [file.name for file in told.files] == ["walk.mp4", "trajectory.npz"]
    assert told.sha256 != find_source(folder / "trajectory.npz").sha256
    with pytest.raises(InputError, match="ends after 2 frames"):
        load(film(2))
    (folder / "trajectory.npz").unlink()
    with pytest.raises(InputError, match="no camera poses"):
        load(film(4))


def test_lens_distortion_is_taken_out(views):
    """A picture bent by a lens comes back straight where it shows anything."""
    camera = PinholeCamera.from_hfov(160, 120, 1.2)
    room = analytic_room()
    straight = room.render(camera, views[0].T_world_cam)
    lens = Lens(
        width_px=160,
        height_px=120,
        fx_px=camera.fx_px,
        fy_px=camera.fy_px,
        cx_px=camera.cx_px,
        cy_px=camera.cy_px,
        distortion=(-0.18, 0.03, 0.001, -0.002),
    )
    # The bent picture: where each of its pixels lies in the straight one, by fixed-point iteration.
    x, y = np.meshgrid((np.arange(160) + 0.5 - camera.cx_px) / camera.fx_px, (np.arange(120) + 0.5 - 60) / camera.fy_px)
    u, v = x.copy(), y.copy()
    k1, k2, p1, p2 = lens.distortion
    for _ in range(30):
        r2 = u * u + v * v
        radial = 1 + k1 * r2 + k2 * r2 * r2
        u, v = (
            (x - 2 * p1 * u * v - p2 * (r2 + 2 * u * u)) / radial,
            (y - p1 * (r2 + 2 * v * v) - 2 * p2 * u * v) / radial,
        )
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3)
    t, surface = room.cast(views[0].T_world_cam[:3, 3], rays @ views[0].T_world_cam[:3, :3].T)
    depth = t.reshape(120, 160).astype(np.float32)
    got, seen = straighten(depth, lens, nearest=True)
    off = np.abs(got - straight.depth_z_m)[seen]
    assert seen.mean() > 0.9
    assert np.median(off) < 0.01 and np.mean(off > 0.1) < 0.03
    assert surface.size


def test_frames_are_chosen_far_apart():
    """Of many frames the ones that differ most stay, in their order, the first among them."""
    Ts = np.stack([camera_pose(np.array([0.01 * i, 0, 1.0]), heading_rad=0.002 * i) for i in range(500)])
    chosen = spread_frames(Ts, 6)
    assert len(chosen) == 6 and chosen[0] == 0 and chosen[-1] == 499
    assert np.diff(chosen).min() > 60
    assert len(spread_frames(Ts[:5], 6)) == 5


def test_refusals_say_what_to_do(tmp_path, views):
    """Binary models, unknown cameras, missing pictures and wrong sizes are named, the path last."""
    same = Similarity(scale=1.0, R=np.eye(3), t=np.zeros(3))
    folder = write_colmap(tmp_path / "a", views, same)
    cameras = folder / "sparse" / "0" / "cameras.txt"
    told = cameras.read_text()
    cameras.write_text(told.replace("PINHOLE", "THIN_PRISM_FISHEYE"))
    with pytest.raises(InputError, match="THIN_PRISM_FISHEYE"):
        load(folder)
    cameras.write_text(told.replace(" 48 36 ", " 48 48 "))
    with pytest.raises(InputError, match="48x36 px, its camera 48x48"):
        load(folder)
    cameras.write_text(told)
    (folder / "images" / "0002.png").rename(folder / "images" / "0009.png")
    with pytest.raises(InputError, match=r"'0002.png', but there is no such picture"):
        load(folder)
    for path in (folder / "sparse" / "0").iterdir():
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(InputError, match="model_converter"):
        load(folder)
    flat = write_transforms(tmp_path / "b", views, same)
    data = json.loads((flat / "transforms.json").read_text())
    data["frames"][1]["file_path"] = "../secret.png"
    (flat / "transforms.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="does not lie beside it"):
        load(flat)
    (tmp_path / "c").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "c" / "a.png")
    with pytest.raises(InputError, match="no camera poses"):
        load(tmp_path / "c")
    with pytest.raises(InputError, match="at least 3"):
        load(write_transforms(tmp_path / "d", views[:2], same))


def damaged(data: bytes, rng: np.random.Generator, trial: int) -> bytes:
    """One way of many to break a file."""
    broken = bytearray(data)
    kind = trial % 4
    if kind == 0:
        return bytes(broken[: int(rng.integers(0, len(broken)))])
    if kind == 1:
        for index in rng.integers(0, len(broken), 12):
            broken[index] = int(rng.integers(256))
    elif kind == 2:
        words = bytes(broken).split(b" ")
        for index in rng.integers(0, len(words), 3):
            words[index] = [b"nan", b"-1", b"1e300", b"0", b"99999999999999999999", b"", b"[[[["][int(rng.integers(7))]
        return b" ".join(words)
    else:
        at = int(rng.integers(0, len(broken)))
        broken[at:at] = bytes(rng.integers(0, 256, 40).astype(np.uint8))
    return bytes(broken)


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt", "points3D.txt", "transforms.json", "trajectory.npz"])
def test_damaged_poses_are_read_or_refused(tmp_path, views, rng, name):
    """Whatever happens to the file of poses, the answer is a set of cameras or one clear error."""
    same = Similarity(scale=1.0, R=np.eye(3), t=np.zeros(3))
    writer = {"transforms.json": write_transforms, "trajectory.npz": write_lyra}.get(name, write_colmap)
    more = {"points": 60} if writer is write_colmap else {}
    folder = writer(tmp_path / "scan", views, same, **more)
    path = next(folder.rglob(name))
    good = path.read_bytes()
    source = find_source(folder)
    for trial in range(24):
        path.write_bytes(damaged(good, rng, trial))
        try:
            posed = find_posed_set(source)
            assert np.isfinite(posed.Ts_file_cam).all() and len(posed.points) < 1000
        except InputError as error:
            assert str(tmp_path) in str(error)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".exr", ".png"])
def test_damaged_depth_maps_are_read_or_refused(tmp_path, views, rng, suffix):
    """So do depth maps; what they declare is never allocated before it is checked."""
    same = Similarity(scale=1.0, R=np.eye(3), t=np.zeros(3))
    folder = write_transforms(tmp_path / "scan", views[:1], same, depth=suffix)
    path = next((folder / "depth").iterdir())
    good = path.read_bytes()
    for trial in range(24):
        path.write_bytes(damaged(good, rng, trial))
        try:
            depth, _ = read_depth(path)
            assert np.isfinite(depth).all() and (depth >= 0).all()
        except InputError as error:
            assert str(path) in str(error)
    with open(tmp_path / "huge.npy", "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (90_000, 90_000)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="more than its"):
        read_depth(tmp_path / "huge.npy")


def test_colmap_without_lines_of_features(tmp_path, views):
    """Writers that leave out the features' lines are understood; several models of cameras are."""
    folder = write_colmap(tmp_path / "scan", views, any_similarity(2))
    model = folder / "sparse" / "0"
    lines = [line for line in (model / "images.txt").read_text().splitlines() if line.endswith(".png")]
    (model / "images.txt").write_text("\n".join(lines))
    (model / "cameras.txt").write_text(
        "1 SIMPLE_PINHOLE 48 36 40 24 18\n2 SIMPLE_RADIAL 48 36 40 24 18 0.1\n3 RADIAL 48 36 40 24 18 0.1 0.01\n"
        "4 OPENCV 48 36 40 41 24 18 0.1 0.01 0.001 0.002\n"
    )
    frames = read_colmap(model).frames
    assert [frame.lens.distortion for frame in frames] == [(), (0.1,), (0.1, 0.01), (0.1, 0.01, 0.001, 0.002)]
    assert frames[3].lens.fy_px == 41 and len(frames) == 4
