"""Writes Gaussian splats as UsdVol.ParticleField3DGaussianSplat: float attributes, linear scales and opacities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DependencyError
from ..core.splats import GaussianCloud
from .usd_stage import new_stage, save_stage


def write_splats(path: Path, splats: GaussianCloud) -> str:
    """`payloads/splats.usdc`; returns the prim path. Raises `InputError` for a malformed cloud and
    `DependencyError` for an OpenUSD without splats.

    The extent reaches three standard deviations past the centres, so culling never cuts a splat.
    """
    from pxr import Gf, Sdf, UsdGeom, UsdSemantics, UsdVol, Vt

    splats.validate()
    stage = new_stage()
    UsdGeom.Xform.Define(stage, "/World/Splats")
    # Kit's own USD may be older than the schema, which came with OpenUSD 26.3.
    schema: Any = getattr(UsdVol, "ParticleField3DGaussianSplat", None)
    if schema is None:
        raise DependencyError("this OpenUSD has no Gaussian splats; install: pip install 'usd-core>=26.3'")
    field = schema.Define(stage, "/World/Splats/gaussians")

    def flat(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array, np.float32)

    quats = splats.quats_wxyz / np.linalg.norm(splats.quats_wxyz, axis=1, keepdims=True)
    field.CreatePositionsAttr(Vt.Vec3fArray.FromNumpy(flat(splats.means)))
    field.CreateScalesAttr(Vt.Vec3fArray.FromNumpy(flat(splats.scales_m)))
    # Vt wants the imaginary part first.
    field.CreateOrientationsAttr(Vt.QuatfArray.FromNumpy(flat(quats[:, [1, 2, 3, 0]])))
    field.CreateOpacitiesAttr(Vt.FloatArray.FromNumpy(flat(splats.opacities)))
    field.CreateRadianceSphericalHarmonicsDegreeAttr(splats.sh_degree)
    coefficients = field.CreateRadianceSphericalHarmonicsCoefficientsAttr(
        Vt.Vec3fArray.FromNumpy(flat(splats.sh.reshape(-1, 3)))
    )
    primvar = UsdGeom.Primvar(coefficients)
    primvar.SetElementSize(splats.sh.shape[1])
    primvar.SetInterpolation(UsdGeom.Tokens.vertex)
    field.CreateSortingModeHintAttr("cameraDistance")
    reach = 3 * splats.scales_m.max(1, keepdims=True)
    low, high = splats_bounds(splats, reach)
    UsdGeom.Boundable(field).CreateExtentAttr([Gf.Vec3f(*(float(x) for x in low)), Gf.Vec3f(*(float(x) for x in high))])
    # Viewers without splat support draw points in these colours.
    UsdGeom.PrimvarsAPI(field).CreatePrimvar(
        "displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex
    ).Set(Vt.Vec3fArray.FromNumpy(flat(splats.rgb())))
    UsdSemantics.LabelsAPI.Apply(field.GetPrim(), "class").CreateLabelsAttr(["room"])
    save_stage(stage, path)
    return "/World/Splats/gaussians"


def splats_bounds(splats: GaussianCloud, reach_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of the splats with their reach [N, 1]."""
    if not len(splats):
        return np.zeros(3), np.zeros(3)
    return (splats.means - reach_m).min(0), (splats.means + reach_m).max(0)
