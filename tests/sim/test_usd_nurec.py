"""The legacy NuRec package: its structure, read back without the code that wrote it."""

from __future__ import annotations

import gzip
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from lyra.worldgen.sim.usd_nurec import UNVERIFIED, pack_msgpack, write_nurec
from sample_splats import random_splats
from sample_worlds import simple_room

PREFIX = ".gaussians_nodes.gaussians."


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """MessagePack, as far as its specification is needed here."""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if 0x80 <= kind <= 0x8F or kind == 0xDE:
        count, at = (kind & 15, at) if kind != 0xDE else (struct.unpack_from(">H", data, at)[0], at + 2)
        table = {}
        for _ in range(count):
            key, at = unpack(data, at)
            table[key], at = unpack(data, at)
        return table, at
    if kind == 0xDC:
        items, at = [], at + 2
        for _ in range(struct.unpack_from(">H", data, at - 2)[0]):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    sizes = {0xD9: ">B", 0xC6: ">I"}
    if kind in sizes:
        width = struct.calcsize(sizes[kind])
        size = struct.unpack_from(sizes[kind], data, at)[0]
        raw = data[at + width : at + width + size]
        return (raw.decode() if kind == 0xD9 else raw), at + width + size
    numbers = {0xCE: ">I", 0xCB: ">d"}
    if kind in numbers:
        return struct.unpack_from(numbers[kind], data, at)[0], at + struct.calcsize(numbers[kind])
    return {0xC2: False, 0xC3: True}[kind], at


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Four hundred splats of degree 2, some way off the origin."""
    splats = random_splats(400, 2, sh_limit=1.0)
    splats = replace(splats, means=(splats.means + np.float32([900, 0, -30])).astype(np.float32))
    path = tmp_path_factory.mktemp("nurec") / "splats.usdz"
    return path, splats, write_nurec(path, splats)


def test_every_file_lies_at_64_bytes_and_is_stored(package):
    """As OpenUSD demands of packages; the layer that opens comes first."""
    path, _, _ = package
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["default.usda", "splats.nurec", "gauss.usda"]
        for entry in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, entry.header_offset + 26)
            start = entry.header_offset + 30 + name + extra
            assert start % 64 == 0 and entry.compress_type == zipfile.ZIP_STORED
            assert data[start : start + 8] == archive.read(entry)[:8]


def test_openusd_objects_to_nothing_but_the_suffix(package):
    """All validators of OpenUSD pass, but for the `.nurec` file that the format is made of."""
    from pxr import Usd, UsdValidation

    path, _, _ = package
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    assert [e.GetName() for e in errors] == ["UnsupportedFileExtensionInPackage"]
    assert "splats.nurec" in errors[0].GetMessage()


def test_volume_names_its_fields(package):
    """One volume with bounds, no proxy, and two fields in the file beside it; status and settings are in the layer."""
    from pxr import Usd, UsdGeom, UsdVol

    path, splats, error_m = package
    stage = Usd.Stage.Open(str(path))
    prim = stage.GetPrimAtPath("/World/gauss/gauss")
    volume = UsdVol.Volume(prim)
    assert prim.GetTypeName() == "Volume" and stage.GetDefaultPrim().GetPath() == "/World"
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert prim.GetAttribute("omni:nurec:isNuRecVolume").Get() is True
    assert prim.GetAttribute("omni:nurec:useProxyTransform").Get() is False
    assert tuple(prim.GetAttribute("omni:nurec:offset").Get()) == (0, 0, 0)
    assert prim.GetRelationship("proxy") and not prim.GetRelationship("proxy").GetTargets()
    fields = {role: stage.GetPrimAtPath(at) for role, at in volume.GetFieldPaths().items()}
    assert set(fields) == {"density", "emissiveColor"}
    for role, kind in (("density", "float"), ("emissiveColor", "float3")):
        field = fields[role]
        assert field.GetTypeName() == "OmniNuRecFieldAsset"
        got = [field.GetAttribute(n).Get() for n in ("fieldName", "fieldDataType", "fieldRole")]
        assert got == [role, kind, role]
        assert field.GetAttribute("filePath").Get().resolvedPath.endswith("splats.usdz[splats.nurec]")
    rows = [fields["emissiveColor"].GetAttribute(f"omni:nurec:ccm{c}").Get() for c in "RGB"]
    np.testing.assert_array_equal(rows, np.eye(4)[:3])
    for corner, bound in ((0, "min"), (1, "max")):
        box = prim.GetAttribute("extent").Get()[corner]
        assert tuple(box) == tuple(prim.GetAttribute(f"omni:nurec:crop:{bound}Bounds").Get())
    place = np.array(UsdGeom.Xformable(prim).GetLocalTransformation())[3, :3]
    low = np.array(prim.GetAttribute("extent").Get()[0]) + place
    np.testing.assert_allclose(low, splats.means.min(0), atol=error_m + 1e-6)
    data = stage.GetRootLayer().customLayerData
    assert data["lyra"]["status"] == UNVERIFIED and "not verified inside Isaac Sim" in UNVERIFIED
    assert data["renderSettings"]["rtx:rendermode"] == "RaytracedLighting"


def test_model_holds_the_splats_before_activation(package):
    """Half floats: logarithms, logits, w first, coefficients filled up to degree 3; centres within the stated error."""
    from pxr import Usd, UsdGeom

    path, splats, error_m = package
    with zipfile.ZipFile(path) as archive:
        packed = gzip.decompress(archive.read("splats.nurec"))
    model, end = unpack(packed)
    assert end == len(packed)
    state = model["nre_data"]["state_dict"]

    def array(name: str) -> np.ndarray:
        raw = np.frombuffer(state[PREFIX + name], "<f2").astype(np.float64)
        return raw.reshape(state[f"{PREFIX}{name}.shape"])

    stage = Usd.Stage.Open(str(path))
    prim = stage.GetPrimAtPath("/World/gauss/gauss")
    place = np.array(UsdGeom.Xformable(prim).GetLocalTransformation())[3, :3]
    assert np.abs(place - [900, 0, -30]).max() < 20  # so that half floats are fine enough
    assert error_m < 0.02
    np.testing.assert_allclose(array("positions") + place, splats.means, atol=error_m)
    np.testing.assert_allclose(np.exp(array("scales")), splats.scales_m, rtol=5e-3)
    np.testing.assert_allclose(array("rotations"), splats.quats_wxyz, atol=5e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-array("densities")[:, 0])), splats.opacities, atol=1e-3)
    np.testing.assert_allclose(array("features_albedo"), splats.sh[:, 0], atol=2e-3)
    rest = array("features_specular").reshape(400, 15, 3)
    np.testing.assert_allclose(rest[:, :8], splats.sh[:, 1:], atol=5e-4)
    assert not rest[:, 8:].any() and array("extra_signal").shape == (400, 0)
    assert struct.unpack("<q", state[PREFIX + "n_active_features"]) == (2,)
    layer = model["nre_data"]["config"]["layers"]["gaussians"]
    activations = [layer[f"{part}_activation"] for part in ("density", "scale", "rotation")]
    assert activations == ["sigmoid", "exp", "normalize"] and layer["precision"] == 16


def test_same_splats_same_bytes(package, tmp_path: Path):
    """Nothing in the package depends on when and where it was written; no other file is left."""
    path, splats, _ = package
    write_nurec(tmp_path / "splats.usdz", splats)
    assert (tmp_path / "splats.usdz").read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["splats.usdz"]


def test_what_half_floats_do_not_reach_is_refused(tmp_path: Path):
    """A cloud of hundreds of kilometres, and none at all, are no world."""
    with pytest.raises(InputError, match="km"):
        write_nurec(tmp_path / "s.usdz", replace(random_splats(2, 0), means=np.float32([[0] * 3, [3e5] * 3])))
    with pytest.raises(InputError, match="no splats"):
        write_nurec(tmp_path / "s.usdz", random_splats(0, 0))
    with pytest.raises(TypeError, match="MessagePack"):
        list(pack_msgpack({"a": object()}))


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [False, True])
def test_a_world_has_it_on_demand(tmp_path: Path, wanted: bool):
    """The setting adds the package to a world's payloads; by default there is none."""
    pytest.importorskip("scipy")
    cfg = SimulationConfig(episode_count=2, nurec=wanted)
    splats = random_splats(20, 0)
    result = write_simulation(tmp_path, simple_room(), splats, cfg=cfg, meta=WorldMeta(name="room"), seed=0)
    assert ("payloads/splats_nurec.usdz" in result.files) == wanted
    assert (tmp_path / "payloads" / "splats_nurec.usdz").is_file() == wanted
