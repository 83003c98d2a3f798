"""Writes Gaussian splats as UsdVol.ParticleField3DGaussianSplat: float attributes, linear scales and opacities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DependencyError
from ..core.mesh import Label
from ..core.splats import GaussianCloud
from .usd_stage import new_stage, save_stage

if TYPE_CHECKING:
    from pxr import Usd


GAUSSIANS, SKY = "/World/Splats/gaussians", "/World/Splats/sky"


def write_splats(path: Path, splats: GaussianCloud) -> list[str]:
    """`payloads/splats.usdc`; returns the prim paths: the sky, where there is one, is a prim of its own.

    Whoever renders depth or segmentation of a camera hides `/World/Splats/sky`, or replaces it by a dome light.

    Raises:
        InputError: the cloud is malformed.
        DependencyError: this OpenUSD has no splats.
    """
    from pxr import UsdGeom

    splats.validate()
    stage = new_stage()
    UsdGeom.Xform.Define(stage, "/World/Splats")
    sky = np.zeros(len(splats), bool) if splats.labels is None else splats.labels == Label.SKY
    define_splats(stage, GAUSSIANS, splats.take(~sky) if sky.any() else splats, "room")
    paths = [GAUSSIANS]
    if sky.any():
        define_splats(stage, SKY, splats.take(sky), "sky")
        paths.append(SKY)
    save_stage(stage, path)
    return paths


def define_splats(stage: Usd.Stage, prim_path: str, splats: GaussianCloud, semantic: str) -> None:
    """One prim of splats with its semantic class.

    Its extent reaches three standard deviations past the centres: culling never cuts a splat.
    """
    from pxr import Gf, Sdf, UsdGeom, UsdSemantics, UsdVol, Vt

    # Kit's own USD may be older than the schema, which came with OpenUSD 26.3.
    schema: Any = getattr(UsdVol, "ParticleField3DGaussianSplat", None)
    if schema is None:
        raise DependencyError("this OpenUSD has no Gaussian splats; install: pip install 'usd-core>=26.3'")
    field = schema.Define(stage, prim_path)

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
    UsdSemantics.LabelsAPI.Apply(field.GetPrim(), "class").CreateLabelsAttr([semantic])


def splats_bounds(splats: GaussianCloud, reach_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of the splats with their reach [N, 1]."""
    if not len(splats):
        return np.zeros(3), np.zeros(3)
    return (splats.means - reach_m).min(0), (splats.means + reach_m).max(0)
