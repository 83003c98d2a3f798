"""Splats survive the standard file format, and hostile files end in one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.reconstruction.splat_io import read_splats, write_points_ply, write_splats
from sample_splats import random_splats


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 40), degree=st.integers(0, 3), seed=st.integers(0, 99))
def test_round_trip(tmp_path: Path, count: int, degree: int, seed: int):
    """What is stored as it is comes back exactly, what is stored as logit or logarithm within float32."""
    cloud = random_splats(count, degree, seed)
    write_splats(tmp_path / "s.ply", cloud)
    back = read_splats(tmp_path / "s.ply")
    np.testing.assert_array_equal(back.means, cloud.means)
    np.testing.assert_array_equal(back.sh, cloud.sh)
    np.testing.assert_allclose(back.quats_wxyz, cloud.quats_wxyz, atol=1e-6)
    np.testing.assert_allclose(back.scales_m, cloud.scales_m, rtol=2e-6)
    np.testing.assert_allclose(back.opacities, cloud.opacities, atol=1e-6)


def test_layout_is_the_standard_one(tmp_path: Path):
    """Property names and order are those of the 3DGS reference code, coefficients channel by channel."""
    cloud = random_splats(3, 1)
    path = tmp_path / "s.ply"
    write_splats(path, cloud)
    data = path.read_bytes()
    header, body = data.split(b"end_header\n", 1)
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property")]
    rest = [f"f_rest_{i}" for i in range(9)]
    first = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2".split()
    assert names == [*first, *rest, *"opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()]
    row = np.frombuffer(body, "<f4").reshape(3, -1)[0]
    np.testing.assert_array_equal(row[9:18], cloud.sh[0, 1:].T.reshape(-1))
    np.testing.assert_allclose(row[19:22], np.log(cloud.scales_m[0]), rtol=1e-6)
    assert data == (write_splats(path, cloud), path.read_bytes())[1]


def test_trimesh_reads_the_points(tmp_path: Path):
    """An independent reader sees the same points and colours."""
    trimesh = pytest.importorskip("trimesh")
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    rgb = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
    write_points_ply(tmp_path / "p.ply", points, rgb, np.tile(np.array([0, 0, 1.0]), (4, 1)))
    cloud = trimesh.load(tmp_path / "p.ply")
    np.testing.assert_allclose(cloud.vertices, points)
    np.testing.assert_array_equal(cloud.visual.vertex_colors[:, :3], rgb)


def test_other_types_and_extra_properties_are_read(tmp_path: Path):
    """Doubles, an extra property, a comment and Windows line ends do not matter."""
    cloud = random_splats(2, 0)
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"]
    names += ["rot_0", "rot_1", "rot_2", "rot_3"]
    lines = ["ply", "format binary_little_endian 1.0", "comment made elsewhere", "element vertex 2"]
    lines += [f"property double {n}" for n in names] + ["property uchar label", "end_header"]
    table = np.zeros(2, np.dtype([(n, "<f8") for n in names] + [("label", "u1")]))
    for i, n in enumerate(names[:3]):
        table[n] = cloud.means[:, i]
    table["rot_0"] = 2.0
    path = tmp_path / "d.ply"
    path.write_bytes("\r\n".join([*lines, ""]).encode() + table.tobytes())
    back = read_splats(path)
    np.testing.assert_array_equal(back.means, cloud.means)
    np.testing.assert_allclose(back.opacities, 0.5)
    np.testing.assert_array_equal(back.quats_wxyz, [[1, 0, 0, 0]] * 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: b"plx" + d[3:], "begin with 'ply'"),
        (lambda d: b"", "begin with 'ply'"),
        (lambda d: d[:-1], "cut off"),
        (lambda d: d.replace(b"vertex 5", b"vertex 999999999999"), "vertex count"),
        (lambda d: d.replace(b"vertex 5", b"vertex -1"), "vertex count"),
        (lambda d: d.replace(b"vertex 5", b"vertex 5000000"), "cut off"),
        (lambda d: d.replace(b"binary_little", b"binary_middle"), "expected binary_little_endian"),
        (lambda d: d.replace(b"format binary_little_endian 1.0\n", b""), "no format"),
        (lambda d: d.replace(b"binary_little_endian", b"ascii"), "no text of numbers"),
        (lambda d: d.replace(b"binary_little_endian", b"ascii").replace(b"vertex 5", b"vertex 99"), "cut off"),
        (lambda d: d.replace(b"float opacity", b"float opaque "), "lacks the property 'opacity'"),
        (lambda d: d.replace(b"float nx", b"float ny"), "twice"),
        (lambda d: d.replace(b"float nx", b"quark nx"), "expected numbers"),
        (lambda d: d.replace(b"float nx", b"list uchar int nx"), "has lists"),
        (lambda d: d.replace(b"float nx", b"list float"), "expected numbers"),
        (lambda d: d.replace(b"float nx", b"float nx\n" + b"property int a\n" * 600), "header line"),
        (lambda d: d.replace(b"element vertex", b"element face"), "no element 'vertex'"),
        (lambda d: d.replace(b"end_header", b"end_hodor "), "header does not end"),
        (lambda d: d.replace(b"float nx", b"float f_rest_0"), "1 f_rest"),
        (lambda d: d[:-4] + np.float32(np.nan).tobytes(), "NaN"),
        (lambda d: d[:-20] + np.float32(999).tobytes() + d[-16:], "NaN or infinite"),
        (lambda d: b"ply\n" + b"comment x\n" * 20_000 + d[4:], "header does not end"),
    ],
)
def test_hostile_files(tmp_path: Path, change, match: str):
    """Each kind of damage is refused with its path at the end of one line."""
    path = tmp_path / "s.ply"
    write_splats(path, random_splats(5, 0))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=match) as caught:
        read_splats(path)
    assert str(caught.value).endswith(str(path)) and "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 5000), value=st.integers(0, 255), cut=st.integers(0, 5000))
def test_damage_never_surprises(tmp_path: Path, at: int, value: int, cut: int):
    """Any changed byte and any cut gives a valid cloud or `InputError`."""
    path = tmp_path / "s.ply"
    write_splats(path, random_splats(4, 0))
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    path.write_bytes(bytes(data[: max(cut % (2 * len(data)), 1)]))
    try:
        read_splats(path).validate()
    except InputError as error:
        assert str(path) in str(error)


def test_missing_file(tmp_path: Path):
    """A missing file is named."""
    with pytest.raises(InputError, match="cannot read"):
        read_splats(tmp_path / "none.ply")
