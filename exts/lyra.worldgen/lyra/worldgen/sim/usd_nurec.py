"""Splats for Isaac Sim 5, which draws no ParticleField: the legacy NuRec package.

A USDZ with `default.usda`, which refers to `gauss.usda` with one `Volume`, whose two fields name a `.nurec` file: gzip
around MessagePack with half floats before their activation (logarithms, logits). The layout follows what 3DGRUT, which
is public, writes for PLY files. **Not verified inside Isaac Sim**: only the structure is tested, and the file says so.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.files import replacing, write_gzip
from ..core.splats import GaussianCloud
from .usd_stage import new_stage, save_layer, save_stage
from .usdz import write_usdz

UNVERIFIED = "structure follows 3DGRUT's NuRec export; not verified inside Isaac Sim"
MODEL_FILE = "splats.nurec"
REST_COUNT = 15
"""Coefficients a channel above the constant; lower degrees are filled up with zeros, as in training."""
_PREFIX = ".gaussians_nodes.gaussians."
RENDER_SETTINGS = {
    "rtx:rendermode": "RaytracedLighting",
    "rtx:directLighting:sampledLighting:samplesPerPixel": 8,
    "rtx:post:histogram:enabled": False,
    "rtx:post:registeredCompositing:invertToneMap": True,
    "rtx:post:registeredCompositing:invertColorCorrection": True,
    "rtx:material:enableRefraction": False,
    "rtx:post:tonemap:op": 2,
    "rtx:raytracing:fractionalCutoutOpacity": False,
    "rtx:matteObject:visibility:secondaryRays": True,
}
"""What the public exporter writes; colours are display-referred, so the tone map is undone for them."""


def write_nurec(path: Path, splats: GaussianCloud) -> float:
    """Write the package; returns the largest error of a centre [m] that half floats cause.

    Centres are stored relative to the middle of the cloud, in whole metres, where half floats are finest.

    Raises:
        InputError: no splats, a malformed cloud, or one so wide that half floats do not reach.
        DependencyError: usd-core is missing.
    """
    splats.validate()
    if not len(splats):
        raise InputError(f"there are no splats to write: {path}")
    low, high = splats.means.min(0).astype(np.float64), splats.means.max(0).astype(np.float64)
    origin = np.round((low + high) / 2)
    local = _half(splats.means - origin)
    if not np.isfinite(local).all():
        raise InputError(f"the cloud is {float((high - low).max()):.3g} m wide; expected less than 100 km: {path}")
    error_m = float(np.abs(local.astype(np.float64) + origin - splats.means).max())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        parts = [("default.usda", Path(folder) / "default.usda"), (MODEL_FILE, Path(folder) / MODEL_FILE)]
        parts.append(("gauss.usda", Path(folder) / "gauss.usda"))
        _write_model(parts[1][1], splats, local)
        # The layers are written last: fields are looked for beside them.
        _write_volume(parts[2][1], local, origin, error_m)
        _write_default(parts[0][1])
        write_usdz(path, parts)
    return error_m


def _write_volume(path: Path, local: np.ndarray, origin: np.ndarray, error_m: float) -> None:
    from pxr import Gf, Sdf, UsdVol

    stage = new_stage(kilograms=False)
    volume = UsdVol.Volume.Define(stage, "/World/gauss")
    prim = volume.GetPrim()
    low, high = ([float(x) for x in corner] for corner in (local.min(0), local.max(0)))
    volume.AddTransformOp().Set(Gf.Matrix4d(1).SetTranslate(Gf.Vec3d(*(float(x) for x in origin))))
    volume.CreateExtentAttr([Gf.Vec3f(*low), Gf.Vec3f(*high)])
    types = Sdf.ValueTypeNames
    for name, kind, value in (
        ("omni:nurec:isNuRecVolume", types.Bool, True),
        ("omni:nurec:useProxyTransform", types.Bool, False),
        ("omni:nurec:offset", types.Float3, Gf.Vec3f(0)),
        ("omni:nurec:crop:minBounds", types.Float3, Gf.Vec3f(*low)),
        ("omni:nurec:crop:maxBounds", types.Float3, Gf.Vec3f(*high)),
    ):
        prim.CreateAttribute(name, kind).Set(value)
    prim.CreateRelationship("proxy")
    for name, role, kind in (("density", "density", "float"), ("emissive_color", "emissiveColor", "float3")):
        field = stage.DefinePrim(f"/World/gauss/{name}_field", "OmniNuRecFieldAsset")
        field.CreateAttribute("filePath", types.Asset).Set(Sdf.AssetPath(f"./{MODEL_FILE}"))
        field.CreateAttribute("fieldName", types.Token).Set(role)
        field.CreateAttribute("fieldDataType", types.Token).Set(kind)
        field.CreateAttribute("fieldRole", types.Token).Set(role)
        volume.CreateFieldRelationship(role, field.GetPath())
    for i, channel in enumerate("RGB"):  # no colour correction
        field.CreateAttribute(f"omni:nurec:ccm{channel}", types.Float4).Set(
            Gf.Vec4f(*(float(i == k) for k in range(4)))
        )
    stage.GetRootLayer().customLayerData = {
        "renderSettings": RENDER_SETTINGS,
        "lyra": {"status": UNVERIFIED, "centre_error_m": error_m},
    }
    save_stage(stage, path)


def _write_default(path: Path) -> None:
    from pxr import Sdf

    stage = new_stage(kilograms=False)
    stage.GetRootLayer().customLayerData = {"renderSettings": RENDER_SETTINGS, "lyra": {"status": UNVERIFIED}}
    # On a bare copy of the layer: a stage in memory would look for the reference and not find it.
    layer = Sdf.Layer.CreateAnonymous(".usda")
    layer.TransferContent(stage.GetRootLayer())
    prim = Sdf.CreatePrimInLayer(layer, "/World/gauss")
    prim.referenceList.Prepend(Sdf.Reference("./gauss.usda"))
    save_layer(layer, path)


def _write_model(path: Path, splats: GaussianCloud, local: np.ndarray) -> None:
    count, stored = len(splats), splats.sh.shape[1] - 1
    opacity = splats.opacities.astype(np.float64)
    rest = np.zeros((count, 3 * REST_COUNT), "<f2")
    # Coefficient by coefficient, red, green and blue of each side by side.
    rest[:, : 3 * stored] = _half(splats.sh[:, 1:].reshape(count, 3 * stored))
    arrays = {
        "positions": local,
        "rotations": _half(splats.quats_wxyz),
        "scales": _half(np.log(splats.scales_m)),
        "densities": _half(np.log(opacity) - np.log1p(-opacity))[:, None],
        "extra_signal": np.zeros((count, 0), "<f2"),
        "features_albedo": _half(splats.sh[:, 0]),
        "features_specular": rest,
    }
    state: dict[str, Any] = {"._extra_state": {"obj_track_ids": {"gaussians": []}}}
    state |= {_PREFIX + name: array.tobytes() for name, array in arrays.items()}
    state[_PREFIX + "n_active_features"] = struct.pack("<q", splats.sh_degree)
    state |= {f"{_PREFIX}{name}.shape": list(array.shape) for name, array in arrays.items()}
    state[_PREFIX + "n_active_features.shape"] = []
    model = {"nre_data": {"version": "0.2.576", "model": "nre", "config": _model_config(), "state_dict": state}}
    with replacing(path, sync=False) as file:
        write_gzip(file, list(pack_msgpack(model)), level=1)


def _half(values: np.ndarray) -> np.ndarray:
    """Half floats; what they do not reach becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values).astype("<f2")


def _model_config() -> dict[str, Any]:
    """How the file says it wants to be drawn: the plain Gaussian kernel, splats blended in order of depth."""
    return {
        "layers": {
            "gaussians": {
                "name": "sh-gaussians",
                "device": "cuda",
                "density_activation": "sigmoid",
                "scale_activation": "exp",
                "rotation_activation": "normalize",
                "precision": 16,
                "particle": {
                    "density_kernel_planar": False,
                    "density_kernel_degree": 2,
                    "density_kernel_density_clamping": True,
                    "density_kernel_min_response": 0.0113,
                    "radiance_sph_degree": 3,
                },
                "transmittance_threshold": 0.0001,
            }
        },
        "renderer": {
            "name": "3dgut-nrend",
            "log_level": 3,
            "force_update": False,
            "update_step_train_batch_end": False,
            "per_ray_features": False,
            "global_z_order": True,
            "projection": {
                "n_rolling_shutter_iterations": 5,
                "ut_dim": 3,
                "ut_alpha": 1.0,
                "ut_beta": 2.0,
                "ut_kappa": 0.0,
                "ut_require_all_sigma_points": False,
                "image_margin_factor": 0.1,
                "min_projected_ray_radius": 0.5477225575051661,
            },
            "culling": {
                "rect_bounding": True,
                "tight_opacity_bounding": True,
                "tile_based": True,
                "near_clip_distance": 1e-8,
                "far_clip_distance": 3.402823466e38,
            },
            "render": {"mode": "kbuffer", "k_buffer_size": 0},
        },
        "name": "gaussians_primitive",
        "appearance_embedding": {"name": "skip-appearance", "embedding_dim": 0, "device": "cuda"},
        "background": {"name": "skip-background", "device": "cuda", "composite_in_linear_space": False},
    }


def pack_msgpack(value: Any) -> Iterator[bytes | memoryview]:
    """MessagePack of dicts, lists, strings, bytes, booleans, whole numbers >= 0 and floats, large bytes uncopied."""
    match value:
        case bool():
            yield b"\xc3" if value else b"\xc2"
        case int():
            yield struct.pack("B", value) if value < 128 else b"\xce" + struct.pack(">I", value)
        case float():
            yield b"\xcb" + struct.pack(">d", value)
        case str():
            yield b"\xd9" + struct.pack("B", len(value.encode()))
            yield value.encode()
        case bytes() | memoryview():
            yield b"\xc6" + struct.pack(">I", len(value))
            yield value
        case list():
            yield b"\xdc" + struct.pack(">H", len(value))
            for item in value:
                yield from pack_msgpack(item)
        case dict():
            yield b"\xde" + struct.pack(">H", len(value))
            for key, item in value.items():
                yield from pack_msgpack(key)
                yield from pack_msgpack(item)
        case _:
            raise TypeError(f"no MessagePack for {type(value).__name__}")
