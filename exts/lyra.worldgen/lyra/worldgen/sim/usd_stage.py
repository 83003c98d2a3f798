"""USD layers with the same head everywhere, and the interface layer that ties a world together. Writes with pxr.

Every layer, payloads included, says: Z up, metres, kilograms, default prim `/World`. Layers are built in memory and
exported to a temporary name beside the target, which is then replaced, so a reader never meets half a file. Nothing
that varies between runs (time, path, host) is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import ConversionError
from ..core.frames import usd_from_cv_camera
from ..core.mesh import Label
from ..core.optional import require

if TYPE_CHECKING:
    from pxr import Sdf, Usd

REPRESENTATIONS = ("mesh", "splats", "both")
DEFAULT_REPRESENTATION = "mesh"
"""Every renderer shows it, older Isaac Sim included, and it carries depth and segmentation."""
COLLISIONS = {"mesh": "collision", "convex": "collision_convex"}
"""Payload of each variant of the set `collision`."""
PART_NAMES = {
    Label.UNKNOWN: "unknown",
    Label.FLOOR: "floor",
    Label.WALL: "wall",
    Label.CEILING: "ceiling",
    Label.OBJECT: "object",
    Label.SKY: "sky",
    Label.BACKDROP: "backdrop",
}
"""Prim name under /World/Visual and semantic class of every label."""


@dataclass(frozen=True, kw_only=True)
class WorldMeta:
    """What the stage says about itself: provenance, trust in its scale, and the photo's camera."""

    name: str
    """Human-readable name of the world."""
    photo_sha256: str = ""
    licence: str = "unknown"
    """Licence of the world as a whole: SPDX id or short text."""
    author: str = "unknown"
    source_file: str = "photo"
    """File name of the photo."""
    date: str = "1970-01-01"
    """ISO date that the metadata must carry; fixed by default, because the same input makes the same bytes."""
    relative_scale_sigma: float = 0.25
    """One standard deviation of metres per unit, relative."""
    confidence: float = 0.5
    """0..1 confidence in the photo's geometry; below 0.3 the metric scale is not trusted."""
    T_world_cam: np.ndarray | None = None
    """[4, 4] pose of the photo's camera."""
    camera: PinholeCamera | None = None
    """Intrinsics of the photo."""
    generator: str = "lyra.worldgen"
    extra: dict[str, str] = field(default_factory=dict)
    """More strings for the stage's custom data, for example seed and versions."""

    @property
    def scale_trusted(self) -> bool:
        return self.confidence >= 0.3


def new_stage(*, kilograms: bool = True) -> Usd.Stage:
    """An empty stage in memory with our head and an Xform `/World` as default prim."""
    from pxr import Usd, UsdGeom, UsdPhysics

    require("pxr.Usd", extra="sim", package="usd-core")
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    if kilograms:
        UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/World").GetPrim())
    return stage


def save_stage(stage: Usd.Stage, path: Path) -> None:
    """Write the stage's root layer; the suffix decides the form (.usda text, .usdc binary)."""
    save_layer(stage.GetRootLayer(), path)


def save_layer(layer: Sdf.Layer, path: Path) -> None:
    """Export beside `path` and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    if not layer.Export(str(partial), comment=""):
        raise ConversionError(f"USD could not write a layer; check free space and permissions\nFile: {path}")
    os.replace(partial, path)


def write_interface(
    path: Path,
    *,
    meta: WorldMeta,
    visual_bounds_m: tuple[np.ndarray, np.ndarray],
    collision_bounds_m: tuple[np.ndarray, np.ndarray],
    with_splats: bool,
    with_convex: bool = False,
    object_masses_kg: tuple[float, ...] = (),
) -> None:
    """`world.usda`: /World with its payloads, a `representation` variant set and metadata; no physics scene in it.

    Args:
        path: target, beside `payloads/`.
        meta: provenance and the photo's camera.
        visual_bounds_m: lowest and highest corner of what is drawn.
        collision_bounds_m: the same of the colliders.
        with_splats: `payloads/splats.usdc` exists.
        with_convex: `payloads/collision_convex.usdc` exists; a variant set `collision` chooses.
        object_masses_kg: of the rigid bodies in `payloads/objects.usdc`; without any there is no such file.
    """
    from pxr import Gf, Kind, Sdf, Usd, UsdGeom, UsdSemantics, Vt

    stage = new_stage()
    world = stage.GetDefaultPrim()
    model = Usd.ModelAPI(world)
    model.SetKind(Kind.Tokens.component)
    model.SetAssetName(meta.name)
    model.SetAssetIdentifier(Sdf.AssetPath(f"./{path.name}"))
    world.SetCustomDataByKey("lyra", _lyra_data(meta))
    geom = UsdGeom.ModelAPI.Apply(world)
    empty = (Gf.Vec3f(np.finfo(np.float32).max.item()), Gf.Vec3f(-np.finfo(np.float32).max.item()))
    # Order of purposes: default, render, proxy, guide.
    hint = [*_corners(visual_bounds_m), *empty, *empty, *_corners(collision_bounds_m)]
    geom.SetExtentsHint(Vt.Vec3fArray(hint))
    UsdSemantics.LabelsAPI.Apply(world, "class").CreateLabelsAttr(["room"])
    if meta.camera is not None and meta.T_world_cam is not None:
        _define_camera(stage, "/World/Cameras/photo", meta.camera, meta.T_world_cam)

    extents = visual_bounds_m[1] - visual_bounds_m[0]
    stage.GetRootLayer().customLayerData = {
        "SimReady_Metadata": {
            "author": meta.author,
            "asset_name": meta.name,
            "asset_type": "environment",
            "asset_license": meta.licence,
            "category": "room",
            "source_file": meta.source_file,
            "usd_date_generated": meta.date,
            "qcode": "Q180516",  # Wikidata: room
            "rigid_body_count": len(object_masses_kg),
            "asset_extents": Gf.Vec3f(*(float(x) for x in extents)),
            "mass": float(sum(object_masses_kg))
            or 1.0,  # the profile wants a positive number; a static world has no mass
        },
        "lyra": _lyra_data(meta),
    }
    # Arcs go on a bare copy of the layer: on a stage in memory they would be looked for and not found.
    layer = bare_copy(stage)
    spec = layer.GetPrimAtPath("/World")
    if with_convex:
        spec.variantSetNameList.Prepend("collision")
        colliders = Sdf.VariantSetSpec(spec, "collision")
        for name, layer_name in COLLISIONS.items():
            payloads = Sdf.VariantSpec(colliders, name).primSpec.payloadList
            payloads.Append(Sdf.Payload(f"./payloads/{layer_name}.usdc"))
        spec.variantSelections["collision"] = "mesh"
    else:
        spec.payloadList.Prepend(Sdf.Payload("./payloads/collision.usdc"))
    if object_masses_kg:
        spec.payloadList.Append(Sdf.Payload("./payloads/objects.usdc"))
    spec.variantSetNameList.Prepend("representation")
    variant_set = Sdf.VariantSetSpec(spec, "representation")
    for name in REPRESENTATIONS if with_splats else REPRESENTATIONS[:1]:
        payloads = Sdf.VariantSpec(variant_set, name).primSpec.payloadList
        for kind, shown in (("visual", name != "splats"), ("splats", name != "mesh")):
            if shown:
                payloads.Append(Sdf.Payload(f"./payloads/{kind}.usdc"))
    spec.variantSelections["representation"] = DEFAULT_REPRESENTATION
    save_layer(layer, path)


def write_scene(path: Path, *, world_file: str = "world.usda", indoors_light_m: np.ndarray | None = None) -> None:
    """`world_scene.usda`: opens directly in a simulator; adds the physics scene and lights to the world.

    Args:
        path: target, beside `world_file` and `payloads/`.
        world_file: name of the interface layer.
        indoors_light_m: [3] where a lamp hangs in a closed room; None under open sky.
    """
    from pxr import Gf, UsdGeom, UsdLux

    stage = new_stage()
    UsdGeom.Scope.Define(stage, "/World/Lights")
    dome = UsdLux.DomeLight.Define(stage, "/World/Lights/dome")
    dome.CreateIntensityAttr(1000.0 if indoors_light_m is None else 200.0)
    if indoors_light_m is not None:
        lamp = UsdLux.SphereLight.Define(stage, "/World/Lights/lamp")
        lamp.CreateRadiusAttr(0.1)
        lamp.CreateIntensityAttr(40_000.0)
        lamp.CreateExtentAttr([Gf.Vec3f(-0.1), Gf.Vec3f(0.1)])
        lamp.AddTranslateOp().Set(Gf.Vec3d(*(round(float(x), 4) for x in indoors_light_m)))
    layer = bare_copy(stage)
    layer.subLayerPaths = ["./payloads/physics_scene.usda", f"./{world_file}"]
    save_layer(layer, path)


def bare_copy(stage: Usd.Stage) -> Sdf.Layer:
    """The root layer's content without a stage that composes it."""
    from pxr import Sdf

    layer = Sdf.Layer.CreateAnonymous(".usda")
    layer.TransferContent(stage.GetRootLayer())
    return layer


def gf_matrix(T_a_b: np.ndarray) -> Any:
    """USD stores row vectors: the transpose of our column-vector transform."""
    from pxr import Gf

    return Gf.Matrix4d(*(float(x) for x in np.asarray(T_a_b, float).T.ravel()))


def _define_camera(stage: Usd.Stage, path: str, camera: PinholeCamera, T_world_cam: np.ndarray) -> None:
    """A USD camera with the photo's pose and field of view."""
    from pxr import Gf, UsdGeom

    UsdGeom.Scope.Define(stage, path.rpartition("/")[0])
    prim = UsdGeom.Camera.Define(stage, path)
    focal = 24.0
    # Only ratios matter for rays: apertures follow from a conventional focal length.
    prim.CreateFocalLengthAttr(focal)
    prim.CreateHorizontalApertureAttr(focal * camera.width_px / camera.fx_px)
    prim.CreateVerticalApertureAttr(focal * camera.height_px / camera.fy_px)
    prim.CreateHorizontalApertureOffsetAttr(focal * (camera.width_px / 2 - camera.cx_px) / camera.fx_px)
    prim.CreateVerticalApertureOffsetAttr(focal * (camera.cy_px - camera.height_px / 2) / camera.fy_px)
    prim.CreateClippingRangeAttr(Gf.Vec2f(0.05, 1000.0))
    prim.AddTransformOp().Set(gf_matrix(usd_from_cv_camera(T_world_cam)))


def _lyra_data(meta: WorldMeta) -> dict[str, Any]:
    return {
        **{key: str(value) for key, value in sorted(meta.extra.items())},
        "format": 1,
        "generator": meta.generator,
        "photoSha256": meta.photo_sha256,
        "licence": meta.licence,
        "confidence": float(meta.confidence),
        "metricScaleTrusted": meta.scale_trusted,
        "relativeScaleSigma": float(meta.relative_scale_sigma),
    }


def _corners(bounds_m: tuple[np.ndarray, np.ndarray]) -> list[Any]:
    from pxr import Gf

    return [Gf.Vec3f(*(float(x) for x in corner)) for corner in bounds_m]
