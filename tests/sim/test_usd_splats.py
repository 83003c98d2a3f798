"""Splats from a file to USD: every attribute, by formulas of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.UsdVol")

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.reconstruction.splat_io import read_splats, write_splats
from lyra.worldgen.sim.usd_read import read_splats_usd
from lyra.worldgen.sim.usd_splats import GAUSSIANS, SKY
from lyra.worldgen.sim.usd_splats import write_splats as write_splats_usd
from sample_splats import random_splats


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_attributes_follow_from_the_file(tmp_path: Path, degree: int):
    """What the schema wants, computed in float64 from the raw columns of a `.ply` file, is what the stage holds."""
    from pxr import Usd, UsdGeom

    write_splats(tmp_path / "s.ply", random_splats(300, degree, 4))
    head, body = (tmp_path / "s.ply").read_bytes().split(b"end_header\n", 1)
    names = [line.split()[-1] for line in head.decode().splitlines() if line.startswith("property")]
    raw = dict(zip(names, np.frombuffer(body, "<f4").reshape(300, -1).T.astype(np.float64), strict=True))
    write_splats_usd(tmp_path / "s.usdc", read_splats(tmp_path / "s.ply"))
    stage = Usd.Stage.Open(str(tmp_path / "s.usdc"))
    prim = stage.GetPrimAtPath("/World/Splats/gaussians")

    def get(name: str) -> np.ndarray:
        return np.array(prim.GetAttribute(name).Get(), np.float64)

    def columns(*which: str) -> np.ndarray:
        return np.stack([raw[name] for name in which], -1)

    np.testing.assert_array_equal(get("positions"), columns("x", "y", "z"))
    np.testing.assert_allclose(get("scales"), np.exp(columns("scale_0", "scale_1", "scale_2")), rtol=1e-7)
    np.testing.assert_allclose(get("opacities"), 1 / (1 + np.exp(-raw["opacity"])), atol=1e-7)
    quats = columns("rot_1", "rot_2", "rot_3", "rot_0")  # arrays of Gf.Quatf have the real part last
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    np.testing.assert_allclose(get("orientations"), quats, atol=2e-7)
    count = (degree + 1) ** 2
    coefficients = get("radiance:sphericalHarmonicsCoefficients").reshape(300, count, 3)
    np.testing.assert_array_equal(coefficients[:, 0], columns("f_dc_0", "f_dc_1", "f_dc_2"))
    for k in range(1, count):
        wanted = columns(*(f"f_rest_{channel * (count - 1) + k - 1}" for channel in range(3)))
        np.testing.assert_array_equal(coefficients[:, k], wanted)
    primvar = UsdGeom.Primvar(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients"))
    assert (primvar.GetElementSize(), primvar.GetInterpolation()) == (count, "vertex")
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == degree
    shown = np.clip(0.5 + 0.28209479177387814 * coefficients[:, 0], 0, 1)
    np.testing.assert_allclose(get("primvars:displayColor"), shown, atol=1e-6)
    low, high = get("extent")
    reach = 3 * get("scales").max(1, keepdims=True)
    np.testing.assert_allclose(
        [low, high], [(get("positions") - reach).min(0), (get("positions") + reach).max(0)], rtol=1e-5
    )


def test_the_sky_is_a_prim_of_its_own(tmp_path: Path):
    """Its splats are in no other prim, carry the class sky, and come back with their label."""
    from pxr import Usd

    cloud = random_splats(200, 1, 4)
    labels = np.where(np.arange(200) % 3 == 0, Label.SKY, Label.WALL).astype(np.uint8)
    assert write_splats_usd(tmp_path / "s.usdc", replace(cloud, labels=labels)) == [GAUSSIANS, SKY]
    stage = Usd.Stage.Open(str(tmp_path / "s.usdc"))
    sky = labels == Label.SKY
    for path, rows, semantic in ((GAUSSIANS, ~sky, "room"), (SKY, sky, "sky")):
        prim = stage.GetPrimAtPath(path)
        np.testing.assert_array_equal(prim.GetAttribute("positions").Get(), cloud.means[rows])
        assert list(prim.GetAttribute("semantics:labels:class").Get()) == [semantic]
    back = read_splats_usd(tmp_path / "s.usdc")
    np.testing.assert_array_equal(back.means, np.concatenate([cloud.means[~sky], cloud.means[sky]]))
    assert back.labels is not None and (back.labels == Label.SKY).sum() == sky.sum()
    assert write_splats_usd(tmp_path / "indoors.usdc", cloud) == [GAUSSIANS]
    assert read_splats_usd(tmp_path / "indoors.usdc").labels is None
