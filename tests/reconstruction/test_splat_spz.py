"""`.spz` files: what is stored, how far it is off, and every version."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import rotation_from_quat_wxyz
from lyra.worldgen.core.splats import transform_splats
from lyra.worldgen.reconstruction.splat_io import read_splat_file, read_splats, write_splats
from lyra.worldgen.reconstruction.splat_spz import T_WORLD_RUB
from sample_splats import random_splats

RUB_FROM_WORLD = np.linalg.inv(T_WORLD_RUB)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(count=st.integers(0, 60), degree=st.integers(0, 3), seed=st.integers(0, 99))
def test_round_trip_keeps_the_stated_bounds(tmp_path: Path, count: int, degree: int, seed: int):
    """Every number comes back within the error that the module states for it, in the axes of the format."""
    cloud = random_splats(count, degree, seed, sh_limit=0.4)
    write_splats(tmp_path / "s.spz", cloud)
    back = read_splats(tmp_path / "s.spz").validate()
    assert len(back) == count and back.sh_degree == degree
    np.testing.assert_allclose(back.means, cloud.means, atol=0.000123)
    wanted = np.maximum(cloud.scales_m, np.exp(-10))
    np.testing.assert_allclose(back.scales_m, wanted, rtol=0.032)
    turns = rotation_from_quat_wxyz(back.quats_wxyz) @ np.swapaxes(rotation_from_quat_wxyz(cloud.quats_wxyz), 1, 2)
    angle = np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.degrees(angle).max(initial=0) < 0.2
    np.testing.assert_allclose(back.opacities, cloud.opacities, atol=0.002)
    np.testing.assert_allclose(back.sh[:, 0], np.clip(cloud.sh[:, 0], -3.34, 3.34), atol=0.0132)
    stored, wanted = (transform_splats(RUB_FROM_WORLD, c).sh[:, 1:] for c in (back, cloud))
    assert np.abs(stored[:, :3] - wanted[:, :3]).max(initial=0) < 0.0313
    assert np.abs(stored[:, 3:] - wanted[:, 3:]).max(initial=0) < 0.0626


def test_a_second_round_trip_changes_nothing(tmp_path: Path):
    """Stored numbers are stored again as the same numbers, in the sizes that the format states."""
    write_splats(tmp_path / "a.spz", random_splats(500, 3, sh_limit=0.4))
    assert len(gzip.decompress((tmp_path / "a.spz").read_bytes())) == 16 + 500 * (9 + 1 + 3 + 3 + 4 + 45)
    first = read_splats(tmp_path / "a.spz")
    write_splats(tmp_path / "a.spz", first)
    second = read_splats(tmp_path / "a.spz")
    for name in ("means", "scales_m", "opacities", "sh"):
        np.testing.assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-6, atol=1e-6)
    turns = [rotation_from_quat_wxyz(c.quats_wxyz) for c in (first, second)]
    np.testing.assert_allclose(turns[0], turns[1], atol=0.003)  # of two equally large components either may be left out


def test_large_files_are_one_gzip_member_and_always_the_same(tmp_path: Path):
    """Deflating in pieces gives a stream that other readers take, with the same bytes each time and no date in it."""
    cloud = random_splats(60_000, 1)
    write_splats(tmp_path / "a.spz", cloud)
    write_splats(tmp_path / "b.spz", cloud)
    data = (tmp_path / "a.spz").read_bytes()
    assert data == (tmp_path / "b.spz").read_bytes()
    assert len(gzip.decompress(data)) == 16 + 60_000 * (9 + 1 + 3 + 3 + 4 + 9)
    assert len(read_splats(tmp_path / "a.spz")) == 60_000


def test_wide_clouds_lose_fractional_bits(tmp_path: Path):
    """Centres beyond two kilometres are stored more coarsely instead of wrapping around."""
    cloud = random_splats(10, 0)
    far = replace(cloud, means=(cloud.means * 3000).astype(np.float32))
    write_splats(tmp_path / "s.spz", far)
    reach = np.abs(far.means).max()
    np.testing.assert_allclose(read_splats(tmp_path / "s.spz").means, far.means, atol=reach / 2**22)


def by_hand(version: int, *, flags: int = 0, tail: bytes = b"", degree: int = 1) -> bytes:
    """Two splats as the format's description says, one number after the other."""
    if version == 1:
        places = np.array([1.5, -2, 0.25, 4, 5, -6], "<f2").tobytes()
    else:
        fixed = [round(v * 4096) & 0xFFFFFF for v in (1.5, -2, 0.25, 4, 5, -6)]
        places = b"".join(struct.pack("<I", v)[:3] for v in fixed)
    if version < 3:
        turns = bytes([128, 128, 255, 0, 128, 128])  # 180 degrees about z, and about -x
    else:
        # Index of the largest in (x, y, z, w), then sign and size of the others from high to low.
        turns = struct.pack("<II", 2 << 30, (0 << 30) | (0x200 | 361) << 10 | 361)
    body = places + bytes([255, 51]) + bytes([128] * 6) + bytes([160, 144, 128, 96, 112, 128]) + turns
    body += bytes([192, 128, 64] + [128] * 6 + [0] * 9) if degree == 1 else bytes(2 * 72)
    return struct.pack("<4sIIBBBB", b"NGSP", version, 2, degree, 12, flags, 0) + body + tail


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version(tmp_path: Path, version: int):
    """Files put together by hand are read as described, turned to Z up; extensions behind the splats are passed."""
    path = tmp_path / "s.spz"
    path.write_bytes(gzip.compress(by_hand(version, flags=3, tail=b"extension" * 9)))
    file = read_splat_file(path)
    assert (file.layout, file.up_axis, file.antialiased) == (f"spz-{version}", "z", True)
    rub = transform_splats(RUB_FROM_WORLD, file.splats.validate())
    np.testing.assert_allclose(rub.means, [[1.5, -2, 0.25], [4, 5, -6]], atol=1e-6)
    np.testing.assert_allclose(rub.scales_m, np.exp([[0, -1, -2], [-4, -3, -2]]), rtol=1e-5)
    np.testing.assert_allclose(rub.opacities, [1, 0.2], atol=1e-6)
    np.testing.assert_allclose(rub.sh[0, 1], [0.5, 0, -0.5], atol=1e-6)
    np.testing.assert_allclose(rub.sh[1, 1:], -1, atol=1e-6)
    R = rotation_from_quat_wxyz(rub.quats_wxyz)
    np.testing.assert_allclose(R[0], np.diag([-1, -1, 1]), atol=0.02)
    if version < 3:
        np.testing.assert_allclose(R[1], np.diag([1, -1, -1]), atol=0.02)
    else:  # (x, y, z, w) = (largest, -c, 0, c) with c = 361 / 511 / sqrt 2
        c = 361 / 511 / 2**0.5
        x = (1 - 2 * c * c) ** 0.5
        np.testing.assert_allclose(R[1], rotation_from_quat_wxyz(np.array([c, x, 0, -c])), atol=0.02)


def test_degree_four_loses_its_last_band(tmp_path: Path):
    """What has no place in a cloud is cut off, the rest stays."""
    (tmp_path / "s.spz").write_bytes(gzip.compress(by_hand(3, degree=4)))
    assert read_splats(tmp_path / "s.spz").sh_degree == 3


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (gzip.compress(by_hand(3))[:-30], "cut off"),
        (gzip.compress(by_hand(3)[:-1]), "cut off"),
        (gzip.compress(by_hand(4)), "version is 4"),
        (b"NGSP" + struct.pack("<II", 4, 7), "version 4 .Zstandard."),
        (gzip.compress(b"NOPE" + by_hand(3)[4:]), "no .spz"),
        (gzip.compress(b""), "cut off"),
        (gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 3, 2**31, 0, 12, 0, 0)), "at most"),
        (gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 3, 9, 5, 12, 0, 0)), "at most"),
        (gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 3, 9, 0, 30, 0, 0)), "at most"),
        (gzip.compress(b"NGSP" + struct.pack("<IIBBBB", 3, 9_999_999, 3, 12, 0, 0)), "cannot hold"),
        (gzip.compress(by_hand(3))[:-8] + b"12345678", "damaged"),
        (b"\x1f\x8b" + b"\xff" * 50, "damaged"),
    ],
    ids=[
        "stream cut", "a byte less", "version 4 in gzip", "version 4", "other magic", "empty", "too many", "degree 5",
        "30 bits", "more than there is", "wrong checksum", "no deflate",
    ],
)  # fmt: skip
def test_hostile_files(tmp_path: Path, data: bytes, match: str):
    """Each kind of damage is refused with its path at the end of one line."""
    path = tmp_path / "s.spz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=match) as caught:
        read_splats(path)
    assert str(caught.value).endswith(str(path)) and "\n" not in str(caught.value)


def test_a_bomb_is_no_cloud(tmp_path: Path):
    """A file that would inflate to more than a hundred times its size is refused before it is inflated."""
    count = 2_000_000
    head = struct.pack("<4sIIBBBB", b"NGSP", 3, count, 3, 12, 0, 0)
    path = tmp_path / "s.spz"
    path.write_bytes(gzip.compress(head + bytes(65 * count), 6))
    with pytest.raises(InputError, match="no cloud"):
        read_splats(path)


def test_what_does_not_fit_is_not_written(tmp_path: Path):
    """Centres beyond 24 bits and other suffixes are refused."""
    far = replace(random_splats(3, 0), means=np.full((3, 3), 1e8, np.float32))
    with pytest.raises(InputError, match="centres reach"):
        write_splats(tmp_path / "s.spz", far)
    with pytest.raises(InputError, match=r"\.ply or \.spz"):
        write_splats(tmp_path / "s.obj", far)
    assert not list(tmp_path.iterdir())
