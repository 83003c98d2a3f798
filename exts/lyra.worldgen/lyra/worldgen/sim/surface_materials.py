"""What surfaces are made of, and what that means for a robot: friction, restitution and density, each with its source.

Friction is that of a dry surface against rubber: a wheel or a sole. It belongs to the pair, so the layers are written
with the combine mode `multiply`, and a body whose own friction is 1 meets exactly these values. Handbooks disagree by
a third for one and the same pair; `friction_range` is what randomisation should cover. Sources:

- Wong: J. Y. Wong, Theory of Ground Vehicles, table of average road adhesion (after Taborek, Mechanics of Vehicles):
  peak and sliding values of tyres.
- Toolbox: The Engineering ToolBox, Friction Coefficients for Common Materials and Surfaces.
- Noon: R. K. Noon, Engineering Analysis of Vehicular Accidents: sliding tyres on asphalt, concrete and wet grass.
- B101: NFSI/ANSI B101.1 and ANSI A326.3, slip resistance of hard floors against an SBR rubber slider: classes, not
  values of one floor. 0.42 is the least a wet floor may have, 0.6 the lower bound of high traction.
- ISO 10456: ISO 10456, Building materials and products, table of design densities.
- estimate: no publication gives this pair; the range is wide on purpose.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.config import SimulationConfig
from ..core.mesh import Label, TriMesh

KINDS = ("floor", "wall", "ceiling", "object", "ground")
"""Kinds of colliders; `ground` is the safety plane below the world."""
COMBINE_MODE = "multiply"
"""How PhysX joins a surface's friction with a body's."""
MIN_SATURATION = 0.2
"""Colours below are grey to an eye and a camera; nothing is concluded from them."""
WARMER_THAN_WALLS = 0.12
"""A brown floor has to be this much more saturated than the walls: else the light is warm and not the floor."""
SAMPLES = 4000


@dataclass(frozen=True, kw_only=True)
class SurfaceMaterial:
    """One row of the table."""

    static_friction: float
    """Dry, against rubber."""
    dynamic_friction: float
    friction_range: tuple[float, float]
    """Lowest and highest dynamic friction that is reported for such surfaces."""
    restitution: float
    """Against a rubber wheel or bumper; an estimate throughout: they hardly bounce."""
    density_kg_m3: float
    """Of the matter; what is built of it is mostly hollow, see `HULL_FILL`."""
    source: str
    """Where friction comes from; after the semicolon density."""


def _row(
    static: float, dynamic: float, low: float, high: float, restitution: float, density: float, source: str
) -> SurfaceMaterial:
    return SurfaceMaterial(
        static_friction=static,
        dynamic_friction=dynamic,
        friction_range=(low, high),
        restitution=restitution,
        density_kg_m3=density,
        source=source,
    )


MATERIALS: Mapping[str, SurfaceMaterial] = {
    "wood": _row(0.70, 0.60, 0.42, 0.90, 0.05, 700, "B101 (high traction, dry); ISO 10456 (timber)"),
    "vinyl": _row(0.70, 0.60, 0.42, 0.90, 0.0, 1700, "B101 (high traction, dry); ISO 10456 (plastic)"),
    "carpet": _row(0.90, 0.80, 0.60, 1.10, 0.0, 200, "estimate (rubber treads); ISO 10456 (textile)"),
    "tile": _row(0.70, 0.60, 0.42, 0.85, 0.05, 2300, "B101 (high traction, dry); ISO 10456 (ceramic)"),
    "stone": _row(0.70, 0.60, 0.42, 0.85, 0.05, 2600, "B101 (high traction, dry); ISO 10456 (granite)"),
    "concrete": _row(0.85, 0.75, 0.60, 0.90, 0.05, 2300, "Wong, Toolbox 0.6-0.85, Noon 0.75; ISO 10456"),
    "asphalt": _row(0.85, 0.75, 0.50, 0.90, 0.05, 2100, "Wong, Toolbox 0.5-0.8, Noon 0.65; ISO 10456"),
    "gravel": _row(0.60, 0.55, 0.40, 0.70, 0.0, 1950, "Wong; ISO 10456 (sand and gravel)"),
    "soil": _row(0.68, 0.65, 0.40, 0.70, 0.0, 1500, "Wong (earth road, dry); ISO 10456 (clay or silt)"),
    "grass": _row(0.50, 0.45, 0.20, 0.65, 0.0, 1500, "between Noon (wet grass 0.2) and Wong (dry earth 0.65)"),
    "glass": _row(0.60, 0.50, 0.30, 1.00, 0.1, 2500, "estimate; ISO 10456 (soda lime glass)"),
    "metal": _row(0.60, 0.50, 0.30, 0.90, 0.1, 7800, "estimate; ISO 10456 (steel)"),
    "plaster": _row(0.60, 0.50, 0.30, 0.80, 0.05, 1000, "estimate; ISO 10456 (gypsum plastering)"),
    "fabric": _row(0.60, 0.50, 0.30, 0.90, 0.0, 200, "estimate; ISO 10456 (textile flooring)"),
    "indoor_floor": _row(0.75, 0.65, 0.42, 1.10, 0.0, 1500, "middle of wood, vinyl, carpet, tile, stone and concrete"),
    "outdoor_ground": _row(0.75, 0.65, 0.40, 0.90, 0.0, 2000, "middle of concrete, asphalt, gravel and soil"),
    "furniture": _row(0.60, 0.50, 0.30, 0.90, 0.05, 600, "estimate; ISO 10456 (particle board)"),
}
"""Known materials. The last three stand for "nobody knows": their ranges span what it could be."""
MATERIAL_NAMES = tuple(MATERIALS)
HULL_FILL = 0.2
"""Share of an object's hull that is matter: furniture is boards around air. An estimate, good to a factor of three."""


@dataclass(frozen=True, kw_only=True)
class SurfaceChoice:
    """What one kind of surface is taken for."""

    material: str
    """Key of `MATERIALS`."""
    basis: str
    """`config` (somebody said so), `colour` (a guess from the picture) or `default` (nothing is known)."""
    detail: str = ""
    """What a guess rests on."""

    @property
    def properties(self) -> SurfaceMaterial:
        return MATERIALS[self.material]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `world.json` and the certificate."""
        row = self.properties
        plain = {
            "material": self.material,
            "basis": self.basis,
            "static_friction": row.static_friction,
            "dynamic_friction": row.dynamic_friction,
            "friction_range": list(row.friction_range),
            "restitution": row.restitution,
        }
        return {**plain, "detail": self.detail} if self.detail else plain


def choose_materials(mesh: TriMesh, cfg: SimulationConfig) -> dict[str, SurfaceChoice]:
    """A material for each of `KINDS`.

    The configuration decides where it names one. Else floors are guessed from their colour where a colour says
    something: green ground under open sky, brown ground, a floor much browner than the walls around it. Concrete,
    tiles and carpets cannot be told apart in a stretched texture, so everything else gets a default with a wide range.

    Args:
        mesh: the visual mesh; labels and texture wanted.
        cfg: `floor_material`, `wall_material` and `object_material`.
    """
    outdoors = mesh.face_labels is not None and bool((mesh.face_labels == Label.SKY).any())
    guess = _guessed_floor(mesh, outdoors=outdoors)
    unknown = SurfaceChoice(material="outdoor_ground" if outdoors else "indoor_floor", basis="default")
    wall = SurfaceChoice(material="concrete" if outdoors else "plaster", basis="default")
    choices = {
        "floor": _said(cfg.floor_material) or guess or unknown,
        "wall": _said(cfg.wall_material) or wall,
        "ceiling": _said(cfg.wall_material) or wall,
        "object": _said(cfg.object_material) or SurfaceChoice(material="furniture", basis="default"),
        "ground": SurfaceChoice(material="outdoor_ground", basis="default"),
    }
    return {kind: choices[kind] for kind in KINDS}


def default_materials() -> dict[str, SurfaceChoice]:
    """What is taken where nothing at all is known."""
    empty = TriMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32))
    return choose_materials(empty, SimulationConfig())


def _said(name: str) -> SurfaceChoice | None:
    return None if name == "auto" else SurfaceChoice(material=name, basis="config")


def _guessed_floor(mesh: TriMesh, *, outdoors: bool) -> SurfaceChoice | None:
    """What the floor's colour says, if it says anything."""
    floor = surface_rgb(mesh, Label.FLOOR)
    if floor is None:
        return None
    hue_deg, saturation, value = _hsv(floor)
    said = f"the floor's colour is {hue_deg:.0f}°, {100 * saturation:.0f} % saturated"
    if saturation < MIN_SATURATION or value < 0.1:
        return None
    if outdoors:
        if 65 <= hue_deg <= 160:
            return SurfaceChoice(material="grass", basis="colour", detail=said)
        if 12 <= hue_deg <= 50 and saturation >= MIN_SATURATION + WARMER_THAN_WALLS:
            return SurfaceChoice(material="soil", basis="colour", detail=said)
        return None
    walls = surface_rgb(mesh, Label.WALL)
    # Warm light makes grey concrete brown, and white walls with it: only the difference is the floor's own.
    cast = _hsv(walls)[1] if walls is not None else 0.0
    if 10 <= hue_deg <= 50 and saturation >= cast + WARMER_THAN_WALLS:
        return SurfaceChoice(material="wood", basis="colour", detail=f"{said}, the walls' {100 * cast:.0f} %")
    return None


def _hsv(rgb: np.ndarray) -> tuple[float, float, float]:
    """Hue in degrees, saturation and value of a colour [3] in 0..1."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in rgb))
    return 360 * hue, saturation, value


def surface_rgb(mesh: TriMesh, label: Label) -> np.ndarray | None:
    """Median sRGB colour [3] in 0..1 of all faces with a label, every square metre counting alike; None without any."""
    if mesh.face_labels is None or mesh.texture_u8 is None or mesh.uv is None or not mesh.texture_u8.size:
        return None
    faces = np.flatnonzero(mesh.face_labels == label)
    area = mesh.face_areas_m2()[faces]
    if not len(faces) or area.sum() <= 0:
        return None
    rng = np.random.default_rng(0x737572)
    chosen = faces[np.searchsorted(np.cumsum(area) / area.sum(), rng.random(SAMPLES)).clip(max=len(faces) - 1)]
    corner = rng.dirichlet(np.ones(3), SAMPLES)
    u, v = np.einsum("nk,nkc->cn", corner, mesh.uv[chosen].astype(float))
    height, width = mesh.texture_u8.shape[:2]
    col = np.clip(u * width, 0, width - 1).astype(int)
    row = np.clip((1 - v) * height, 0, height - 1).astype(int)
    return np.median(mesh.texture_u8[row, col], axis=0) / 255.0
