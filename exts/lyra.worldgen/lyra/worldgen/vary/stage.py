"""The stage of a variant: layers that say what differs, over the base's layers, which are shared and not copied.

`world.usda` and `world_scene.usda` lie over those of the base. A payload that differs is a thin layer of the same name
over the base's payload, so whoever opens the stage and whoever opens `payloads/collision.usdc` alone see the same.
Everything that is no opinion of this variant is the base's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.colour import ColourEdit
from ..core.mesh import TriMesh
from ..core.splats import GaussianCloud
from ..sim.usd_mesh import define_mesh
from ..sim.usd_physics import define_standing
from ..sim.usd_read import COLOUR_GAIN, COLOUR_OFFSET, SPLATS, VISUAL
from ..sim.usd_splats import define_splats
from ..sim.usd_stage import bare_copy, gf_matrix, new_stage, save_layer
from .base import Base
from .draw import WHITE_K, Draw
from .lamps import HANGING_LAMP, FoundLamp
from .light import camera_factor, exposure_ev, splat_edit, visual_edit
from .mirror import mirror_colliders, mirrored_mesh

if TYPE_CHECKING:
    from pxr import Usd

    from .styles import Style

MIRRORED = {"visual": VISUAL, "splats": SPLATS}
"""Payloads that a transform mirrors, and the prim that gets it; colliders are written anew."""
MADE_ROUGHNESS = 0.9
LAMP_AREA_M2 = 4 * np.pi * 0.1**2
"""Of the scene's own lamp, whose power the lamps that are found share."""
LAMP_GAP_M = 0.03


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What a variant has that its base has not, in the base's frame."""

    things: Mapping[str, TriMesh]
    """Surfaces of what stands on the floor, by prim name; with uv or vertex colours as the base's mesh has them."""
    splats: Mapping[str, GaussianCloud]
    """By prim name below /World/Splats."""


def write_stage(
    folder: Path,
    base: Base,
    drawn: Draw,
    additions: Additions,
    *,
    mirrored: bool,
    style: Style | None = None,
    lamps: Sequence[FoundLamp] = (),
) -> None:
    """Write all layers of a variant into its folder.

    Args:
        folder: the variant's, made if missing; its place relative to the base is final.
        base: what is shared.
        drawn: values.
        additions: things and splats.
        mirrored: whether y becomes -y.
        style: other materials, which lie between the variant's payloads and the base's.
        lamps: of `drawn.lamps`, in the base's frame.
    """
    own: list[str] = []
    for name, layer in _payloads(base, drawn, additions, mirrored=mirrored, style=style).items():
        below = [base.folder / "payloads" / f"{name}.usdc"]
        if style is not None and (other := style.layer(name)) is not None:
            below.insert(0, other)
            # Whoever keeps what this layer shows recognises it by its bytes, and a path would not tell styles apart.
            layer.customLayerData = {"lyra:style": style.sha256}
        layer.subLayerPaths = [relative(folder / "payloads", path) for path in below]
        save_layer(layer, folder / "payloads" / f"{name}.usdc")
        own.append(name)
    _write_world(folder, base, own, mirrored=mirrored)
    _write_scene(folder, base, drawn, [lamp.mirrored() for lamp in lamps] if mirrored else lamps, mirrored=mirrored)


def relative(folder: Path, target: Path) -> str:
    """Path from a folder to a file as layers and manifests state it."""
    # Both resolved: a relative path that leads through a link would depend on who follows it.
    return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()


def _payloads(base: Base, drawn: Draw, additions: Additions, *, mirrored: bool, style: Style | None) -> dict[str, Any]:
    """The layers of payloads that differ, by name."""
    layers = {}
    for name in ("visual", "collision", "collision_convex", "splats"):
        file = f"payloads/{name}.usdc"
        if not base.world.has(file):
            continue
        stage = new_stage()
        if name == "visual":
            _visual(stage, base, drawn, additions)
        elif name == "splats":
            _splats(stage, base, drawn, additions)
        else:
            things = additions.things
            if mirrored:
                mirror_colliders(stage, base.world.path(file))
                things = {key: mirrored_mesh(mesh) for key, mesh in things.items()}
            _collision(stage, base, drawn, things)
        if mirrored and name in MIRRORED:
            _mirror(stage, MIRRORED[name])
        layer = bare_copy(stage)
        if layer.GetPrimAtPath("/World").nameChildren or (style is not None and style.layer(name) is not None):
            layers[name] = layer
    return layers


def _visual(stage: Usd.Stage, base: Base, drawn: Draw, additions: Additions) -> None:
    from pxr import Gf, Sdf, UsdGeom, UsdSemantics, UsdShade

    types = Sdf.ValueTypeNames
    _state_edit(stage, VISUAL, visual_edit(drawn, indoors=base.indoors))
    if base.textured and drawn.albedo != (1.0, 1.0, 1.0):
        image = UsdShade.Shader(stage.OverridePrim("/World/Looks/world/albedo"))
        image.CreateInput("scale", types.Float4).Set(Gf.Vec4f(*drawn.albedo, 1.0))
    if drawn.roughness != MADE_ROUGHNESS:
        surface = UsdShade.Shader(stage.OverridePrim("/World/Looks/world/surface"))
        surface.CreateInput("roughness", types.Float).Set(drawn.roughness)
    for name, mesh in additions.things.items():
        UsdGeom.Xform.Define(stage, f"{VISUAL}/{name}")
        part = define_mesh(stage, f"{VISUAL}/{name}/object", mesh)
        look = UsdShade.Material(stage.OverridePrim("/World/Looks/world"))
        UsdShade.MaterialBindingAPI.Apply(part.GetPrim()).Bind(look)
        UsdSemantics.LabelsAPI.Apply(part.GetPrim(), "class").CreateLabelsAttr(["object"])


def _collision(stage: Usd.Stage, base: Base, drawn: Draw, things: Mapping[str, TriMesh]) -> None:
    from pxr import UsdPhysics

    for kind, (static, dynamic, restitution) in surfaces(base, drawn).items():
        made = base.materials[kind]
        if (static, dynamic, restitution) == (made.static_friction, made.dynamic_friction, made.restitution):
            continue
        api = UsdPhysics.MaterialAPI(stage.OverridePrim(f"/World/PhysicsMaterials/{kind}"))
        api.CreateStaticFrictionAttr(static)
        api.CreateDynamicFrictionAttr(dynamic)
        api.CreateRestitutionAttr(restitution)
    if things:
        stage.OverridePrim("/World/Collision")
        define_standing(stage, things)


def surfaces(base: Base, drawn: Draw) -> dict[str, tuple[float, float, float]]:
    """Static friction, dynamic friction and restitution of each kind of collider that the base has."""
    found = {}
    for kind, made in base.materials.items():
        if kind not in drawn.friction:
            continue
        dynamic = made.dynamic_friction * drawn.friction[kind]
        if drawn.within_published:
            low, high = made.published
            dynamic = min(max(dynamic, min(low, made.dynamic_friction)), max(high, made.dynamic_friction))
        factor = dynamic / made.dynamic_friction if made.dynamic_friction > 0 else 1.0
        restitution = min(made.restitution + drawn.restitution[kind], 1.0)
        found[kind] = (
            round(made.static_friction * factor, 6) if factor != 1.0 else made.static_friction,
            round(dynamic, 6) if factor != 1.0 else made.dynamic_friction,
            round(restitution, 6) if drawn.restitution[kind] else made.restitution,
        )
    return found


def _splats(stage: Usd.Stage, base: Base, drawn: Draw, additions: Additions) -> None:
    _state_edit(stage, SPLATS, splat_edit(drawn, indoors=base.indoors))
    for name, cloud in additions.splats.items():
        if len(cloud):
            define_splats(stage, f"{SPLATS}/{name}", cloud, "object")


def _state_edit(stage: Usd.Stage, path: str, edit: ColourEdit) -> None:
    from pxr import Gf, Sdf

    if not edit.changes:
        return
    prim = stage.OverridePrim(path)
    for name, values in ((COLOUR_GAIN, edit.gain), (COLOUR_OFFSET, edit.offset)):
        prim.CreateAttribute(name, Sdf.ValueTypeNames.Float3, True).Set(Gf.Vec3f(*values))


def _mirror(stage: Usd.Stage, path: str) -> None:
    """y becomes -y for everything below a prim that has no transform of its own.

    The prim and not /World: whoever puts a world on a stage sets the transform of that.
    """
    from pxr import Gf, UsdGeom

    UsdGeom.Xformable(stage.OverridePrim(path)).AddScaleOp().Set(Gf.Vec3f(1, -1, 1))


def _write_world(folder: Path, base: Base, own: list[str], *, mirrored: bool) -> None:
    from pxr import Gf, Sdf, UsdGeom

    source = base.world.path("world.usda")
    shared = Sdf.Layer.FindOrOpen(str(source))
    stage = new_stage()
    if mirrored and (hint := shared.GetAttributeAtPath("/World.extentsHint")) is not None:
        corners = np.array(hint.default, float).reshape(-1, 2, 3)
        UsdGeom.ModelAPI(stage.GetDefaultPrim()).SetExtentsHint(
            [Gf.Vec3f(*map(float, c)) for c in _mirrored_boxes(corners).reshape(-1, 3)]
        )
    photo = shared.GetAttributeAtPath("/World/Cameras/photo.xformOp:transform")
    if mirrored and photo is not None:
        # World y and the camera's x change their signs: the pose stays a rotation. Rows, as USD stores them.
        flip = np.ones((4, 4))
        flip[:, 1] *= -1
        flip[0] *= -1
        moved = Gf.Matrix4d(*(np.array(photo.default) * flip + 0.0).ravel().tolist())
        camera = stage.OverridePrim("/World/Cameras/photo")
        camera.CreateAttribute("xformOp:transform", Sdf.ValueTypeNames.Matrix4d, False).Set(moved)
    layer = bare_copy(stage)
    layer.subLayerPaths = [relative(folder, source)]

    def at(payload: Any) -> Any:
        """The payload as seen from here: the variant's where it has its own."""
        name = Path(payload.assetPath).stem
        if name in own:
            return Sdf.Payload(f"./payloads/{name}.usdc")
        return Sdf.Payload(relative(folder, source.parent / payload.assetPath))

    theirs, mine = shared.GetPrimAtPath("/World"), layer.GetPrimAtPath("/World")
    _replace_payloads(theirs, mine, at)
    for set_name, variant_set in theirs.variantSets.items():
        my_set = Sdf.VariantSetSpec(mine, set_name)
        for name, variant in variant_set.variants.items():
            _replace_payloads(variant.primSpec, Sdf.VariantSpec(my_set, name).primSpec, at)
    save_layer(layer, folder / "world.usda")


def _replace_payloads(theirs: Any, mine: Any, at: Any) -> None:
    """State a prim's payloads anew, in their order; a stronger list takes the place of a weaker one."""
    payloads = list(theirs.payloadList.GetAddedOrExplicitItems())
    if payloads:
        mine.payloadList.explicitItems = [at(payload) for payload in payloads]


def _mirrored_boxes(corners: np.ndarray) -> np.ndarray:
    """Boxes [N, 2, 3] with y mirrored; empty ones, which have no size, stay empty."""
    full = (corners[:, 0] <= corners[:, 1]).all(1)
    moved = corners.copy()
    moved[full, 0, 1], moved[full, 1, 1] = -corners[full, 1, 1], -corners[full, 0, 1]
    return moved


def _write_scene(folder: Path, base: Base, drawn: Draw, lamps: Sequence[FoundLamp], *, mirrored: bool) -> None:
    from pxr import Gf, Sdf, UsdLux

    stage = new_stage()
    lights = [("dome", UsdLux.DomeLight, base.dome * drawn.dome)]
    if base.indoors and not lamps:
        lights.append(("lamp", UsdLux.SphereLight, base.lamp * drawn.lamp))
    for name, schema, intensity in lights:
        light = schema(stage.OverridePrim(f"/World/Lights/{name}"))
        light.CreateIntensityAttr(round(intensity, 3))
        _tint(light, drawn, drawn.temperature_k, indoors=base.indoors)
    if lamps:
        stage.OverridePrim("/World/Lights/lamp").SetActive(False)
        for k, (lamp, lit) in enumerate(zip(lamps, drawn.lamps, strict=True)):
            if lit.factor > 0:
                light = define_lamp(stage, f"/World/Lights/found_{k:02d}", lamp)
                power = base.lamp * LAMP_AREA_M2 * drawn.lamp * lit.share * lit.factor
                light.CreateIntensityAttr(round(power / shining_area_m2(lamp), 3))
                _tint(light, drawn, lit.temperature_k, indoors=base.indoors)
    elif base.indoors and mirrored:
        x, y, z = base.lamp_xyz_m
        place = stage.OverridePrim("/World/Lights/lamp").CreateAttribute(
            "xformOp:translate", Sdf.ValueTypeNames.Double3, False
        )
        place.Set(Gf.Vec3d(x, 0.0 - y, z))
    if not base.indoors and drawn.sun > 0:
        sun = UsdLux.DistantLight.Define(stage, "/World/Lights/sun")
        # Normalised: the intensity is what falls on a surface that faces the sun; a dome's is pi times its own.
        sun.CreateNormalizeAttr(True)
        sun.CreateIntensityAttr(round(np.pi * base.dome * drawn.dome * drawn.sun, 3))
        sun.CreateAngleAttr(0.53)
        _tint(sun, drawn, drawn.sun_temperature_k, indoors=base.indoors)
        # The light travels along -z of its frame, which is turned to where the sun stands.
        sun.AddRotateZOp().Set(drawn.sun_azimuth_deg)
        sun.AddRotateYOp().Set(90.0 - drawn.sun_elevation_deg)
    layer = bare_copy(stage)
    layer.subLayerPaths = ["./world.usda", relative(folder, base.world.path("world_scene.usda"))]
    save_layer(layer, folder / "world_scene.usda")


def shining_area_m2(lamp: FoundLamp) -> float:
    """Of the light that stands for a lamp: with its intensity, what decides its power."""
    return 4 * np.pi * _radius_m(lamp) ** 2 if lamp.kind == HANGING_LAMP else lamp.area_m2


def _radius_m(lamp: FoundLamp) -> float:
    return sum(lamp.size_m) / 4


def define_lamp(stage: Usd.Stage, path: str, lamp: FoundLamp) -> Any:
    """A sphere for what hangs, a rectangle that shines into the room for windows and ceiling lamps."""
    from pxr import Gf, UsdLux

    if lamp.kind == HANGING_LAMP:
        light = UsdLux.SphereLight.Define(stage, path)
        radius = round(_radius_m(lamp), 4)
        light.CreateRadiusAttr(radius)
        light.CreateExtentAttr([Gf.Vec3f(-radius), Gf.Vec3f(radius)])
        light.AddTranslateOp().Set(Gf.Vec3d(*lamp.centre_m))
        return light
    light = UsdLux.RectLight.Define(stage, path)
    width, height = lamp.size_m
    light.CreateWidthAttr(width)
    light.CreateHeightAttr(height)
    light.CreateExtentAttr([Gf.Vec3f(-width / 2, -height / 2, 0), Gf.Vec3f(width / 2, height / 2, 0)])
    # It shines along -z of its frame, from just before the surface that shows it.
    T_world_light = np.eye(4)
    T_world_light[:3, 2] = -np.array(lamp.normal)
    T_world_light[:3, 0] = np.array(lamp.along)
    T_world_light[:3, 1] = np.cross(T_world_light[:3, 2], T_world_light[:3, 0])
    T_world_light[:3, 3] = np.array(lamp.centre_m) + LAMP_GAP_M * np.array(lamp.normal)
    light.AddTransformOp().Set(gf_matrix(T_world_light))
    return light


def _tint(light: Any, drawn: Draw, temperature_k: float, *, indoors: bool) -> None:
    """Colour of a light, and the camera's exposure and white balance, which a stage can only state as light."""
    from pxr import Gf

    if stops := round(exposure_ev(drawn, indoors=indoors), 6):
        light.CreateExposureAttr(stops)
    if drawn.white_balance_k != WHITE_K:
        light.CreateColorAttr(Gf.Vec3f(*(round(float(c), 6) for c in camera_factor(drawn))))
    if temperature_k != WHITE_K:
        light.CreateEnableColorTemperatureAttr(True)
        light.CreateColorTemperatureAttr(temperature_k)


def write_index(path: Path, names: list[str]) -> None:
    """A stage whose variant set `variation` holds all variants: one list to choose from in any viewer.

    Args:
        path: the layer, beside the variants' folders.
        names: of the folders; the first one is chosen.
    """
    from pxr import Sdf

    layer = bare_copy(new_stage())
    world = layer.GetPrimAtPath("/World")
    world.variantSetNameList.Prepend("variation")
    variation = Sdf.VariantSetSpec(world, "variation")
    for name in names:
        Sdf.VariantSpec(variation, name).primSpec.payloadList.Append(Sdf.Payload(f"./{name}/world_scene.usda"))
    if names:
        world.variantSelections["variation"] = names[0]
    save_layer(layer, path)
