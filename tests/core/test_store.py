"""Records survive the disk bit for bit, and hostile files end in one clear error."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core import npz, store
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.splats import GaussianCloud
from lyra.worldgen.core.views import PhotoGeometry, PolarLayout, RgbdView, WorldViews


def a_mesh(*, textured: bool = True) -> TriMesh:
    rng = np.random.default_rng(3)
    return TriMesh(
        vertices=rng.normal(size=(5, 3)),
        faces=rng.integers(0, 5, (7, 3)).astype(np.int32),
        face_labels=rng.integers(0, 7, 7).astype(np.uint8),
        uv=rng.random((7, 3, 2)).astype(np.float32) if textured else None,
        texture_u8=rng.integers(0, 256, (9, 11, 3)).astype(np.uint8) if textured else None,
        vertex_rgb_u8=None,
    )


def a_view(view_id: int = 4) -> RgbdView:
    rng = np.random.default_rng(view_id)
    return RgbdView(
        view_id=view_id,
        camera=PinholeCamera.from_hfov(8, 6, 1.1),
        T_world_cam=camera_pose(np.array([0.1, 0.2, 1.5]), heading_rad=0.3, pitch_rad=-0.1),
        rgb_u8=rng.integers(0, 256, (6, 8, 3)).astype(np.uint8),
        depth_z_m=rng.uniform(0.5, 9, (6, 8)).astype(np.float32),
        valid=rng.random((6, 8)) < 0.8,
        source=rng.integers(0, 4, (6, 8)).astype(np.uint8),
        labels=rng.integers(0, 7, (6, 8)).astype(np.uint8),
    )


def a_geometry() -> PhotoGeometry:
    azimuth = np.linspace(-0.5, 0.5, 9)
    layout = PolarLayout(
        azimuth_rad=azimuth,
        boundary_m=np.full(9, 4.0),
        boundary_top_m=np.full(9, np.inf),
        boundary_label=np.full(9, 2, np.uint8),
        object_bin=np.array([3, 4], np.int32),
        object_near_m=np.array([1.0, 1.1]),
        object_far_m=np.array([1.5, 1.6]),
        object_top_m=np.array([0.7, 0.8]),
        ceiling_m=None,
        camera_height_m=1.5,
    )
    return PhotoGeometry(
        camera=PinholeCamera.from_hfov(8, 6, 1.3),
        T_world_cam=camera_pose(np.array([0.0, 0.0, 1.5]), pitch_rad=-0.1),
        depth_z_m=np.full((6, 8), 2.5, np.float32),
        labels=np.ones((6, 8), np.uint8),
        layout=layout,
        confidence=0.1 + 0.2,
        mode="manhattan",
        manhattan_yaw_rad=1 / 3,
        relative_scale_sigma=0.1,
        backend="embedded",
        notes=("net failed: x", "ü"),
    )


def same(a: object, b: object) -> None:
    """Compare two records field by field, arrays with their types."""
    assert type(a) is type(b)
    for name in type(a).__dataclass_fields__:  # type: ignore[attr-defined]
        x, y = getattr(a, name), getattr(b, name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        elif hasattr(type(x), "__dataclass_fields__"):
            same(x, y)
        else:
            assert x == y


@pytest.mark.parametrize("textured", [True, False])
def test_mesh_round_trip(tmp_path: Path, textured: bool) -> None:
    """A mesh comes back exactly, absent parts stay absent."""
    mesh = a_mesh(textured=textured)
    store.save_mesh(tmp_path / "m.npz", mesh)
    same(mesh, store.load_mesh(tmp_path / "m.npz"))


def test_view_and_geometry_round_trip(tmp_path: Path) -> None:
    """Views and photo geometry come back exactly, infinite boundary tops and notes included."""
    store.save_view(tmp_path / "v.npz", a_view())
    same(a_view(), store.load_view(tmp_path / "v.npz"))
    store.save_geometry(tmp_path / "g.npz", a_geometry())
    same(a_geometry(), store.load_geometry(tmp_path / "g.npz"))


def test_splats_round_trip(tmp_path: Path) -> None:
    """Splats come back exactly, also none at all."""
    for n in (0, 5):
        cloud = GaussianCloud(
            means=np.ones((n, 3), np.float32),
            scales_m=np.full((n, 3), 0.1, np.float32),
            quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
            opacities=np.full(n, 0.5, np.float32),
            sh=np.zeros((n, 4, 3), np.float32),
            labels=np.full(n, 2, np.uint8) if n else None,
        )
        store.save_splats(tmp_path / "s.npz", cloud)
        same(cloud, store.load_splats(tmp_path / "s.npz"))


def test_views_folder_round_trip(tmp_path: Path) -> None:
    """All views of a world, proxy, ceiling and path come back in order."""
    views = WorldViews(
        views=[a_view(0), a_view(7)],
        proxy=a_mesh(),
        ceiling_m=2.7,
        Ts_world_path=np.stack([np.eye(4)] * 3),
        metrics={"loop_closure_psnr_db": np.inf},
    )
    store.save_views(tmp_path, views)
    back = store.load_views(tmp_path)
    for a, b in zip(views.views, back.views, strict=True):
        same(a, b)
    assert back.proxy is not None and back.ceiling_m == 2.7
    np.testing.assert_array_equal(back.Ts_world_path, views.Ts_world_path)
    assert back.metrics == views.metrics
    store.view_path(tmp_path, 1).unlink()
    with pytest.raises(InputError, match="missing"):
        store.load_views(tmp_path)


def test_same_record_same_bytes_and_plain_numpy(tmp_path: Path) -> None:
    """Two writes give the same bytes, NumPy reads the file, and nothing is left beside it."""
    for name in ("a", "b"):
        store.save_mesh(tmp_path / f"{name}.npz", a_mesh())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["vertices"], a_mesh().vertices)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Records go into folders that exist; others are refused in words."""
    with pytest.raises(InputError, match=r"cannot write.*none"):
        store.save_mesh(tmp_path / "none" / "a.npz", a_mesh())


def member(array: np.ndarray | None = None, raw: bytes | None = None) -> bytes:
    if raw is not None:
        return raw
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def repack(source: Path, target: Path, changes: dict[str, bytes | None]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        content = {name: old.read(name) for name in old.namelist()} | changes
        for name, data in content.items():
            if data is not None:
                new.writestr(name, data)
    return target


HUGE_HEADER = member(np.zeros((2, 3)))[:10] + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 3), }"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"faces.npy": None}, "'faces' is missing"),
        ({"extra.npy": member(np.zeros(3))}, "unknown array"),
        ({"../evil": b"x"}, "unknown array"),
        ({"vertices.npy": member(np.array([{"a": 1}], dtype=object))}, "plain numbers"),
        ({"vertices.npy": member(np.full((5, 3), np.nan))}, "NaN"),
        ({"vertices.npy": member(np.zeros((5, 3), np.float32))}, "type float32"),
        ({"vertices.npy": member(np.zeros((5, 2)))}, "shape"),
        ({"vertices.npy": member(raw=b"not an array")}, "damaged"),
        ({"vertices.npy": member(raw=HUGE_HEADER)}, "damaged|more than"),
        ({"faces.npy": member(np.full((7, 3), 9, np.int32))}, "expected 0..4"),
        ({"face_labels.npy": member(np.zeros(6, np.uint8))}, "shape"),
        ({"meta.npy": member(np.frombuffer(b"[" * 5000, np.uint8))}, "malformed"),
        ({"meta.npy": member(np.frombuffer(b'{"kind": "view", "format": 1}', np.uint8))}, "expected 'mesh'"),
        ({"meta.npy": member(np.frombuffer(b'{"kind": "mesh", "format": 99}', np.uint8))}, "reads 1"),
    ],
)
def test_hostile_mesh_files(tmp_path: Path, changes: dict[str, bytes | None], match: str) -> None:
    """A file that is not exactly what it should be is refused with its path at the end."""
    store.save_mesh(tmp_path / "ok.npz", a_mesh())
    bad = repack(tmp_path / "ok.npz", tmp_path / "bad.npz", changes)
    with pytest.raises(InputError, match=match) as caught:
        store.load_mesh(bad)
    assert str(caught.value).endswith(str(bad)) and "\n" not in str(caught.value)


def test_oversized_member_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member above the size limit is refused before it is read."""
    store.save_mesh(tmp_path / "m.npz", a_mesh())
    monkeypatch.setattr(npz, "MAX_ARRAY_BYTES", 100)
    with pytest.raises(InputError, match="at most 100"):
        store.load_mesh(tmp_path / "m.npz")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000), flip=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_damaged_bytes_never_surprise(tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bit: int) -> None:
    """Any truncation or flipped bit gives `InputError` or the same record, never another exception."""
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "v.npz"
    store.save_view(path, a_view())
    data = bytearray(path.read_bytes())
    data[flip % len(data)] ^= 1 << bit
    for content in (bytes(data), path.read_bytes()[: cut % len(data)]):
        path.write_bytes(content)
        try:
            view = store.load_view(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            same(view, a_view())


def test_wrong_paths(tmp_path: Path) -> None:
    """A missing file and a folder give errors that name them."""
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            store.load_view(path)
