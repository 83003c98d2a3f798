"""What variants may differ in, and how far: the schema of `config/randomization/*.yaml`.

Every range is a pair, lowest and highest; two equal numbers fix a value, and a range that holds nothing but its neutral
value leaves the axis alone. The defaults change nothing: a file says what varies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..core.errors import ConfigError
from ..core.schema import Section, build_section, load_schema, nearest
from .materials import MATERIALS

Range = tuple[float, float]
STYLED_KINDS = ("floor", "wall", "ceiling", "object")
"""Kinds of surfaces that styles give materials."""
LEVEL_KINDS = ("floor", "ceiling")
"""Those of which the photo can show a piece that goes on everywhere: walls have things on them."""
KEEP, PHOTO = "keep", "photo"
MOST_STYLES = 256


class _Ranges(Section):
    """A section of ranges; each is checked against what makes sense at all."""

    limits: ClassVar[Mapping[str, Range]] = {}
    """Lowest and highest value that a range may hold, by field."""
    whole: ClassVar[tuple[str, ...]] = ()
    """Fields that count things."""

    def _check(self) -> None:
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            if isinstance(getattr(type(self), name), float):
                self._between(name, low, high)
                continue
            numbers = _pair(self._path(name), value, whole=name in self.whole)
            if not low <= numbers[0] <= numbers[1] <= high:
                shown = f"[{numbers[0]:g}, {numbers[1]:g}]"
                raise ConfigError(
                    f"{self._path(name)} is {shown}; expected a range, low before high, in {low:g} to {high:g}"
                )
            object.__setattr__(self, name, numbers)


@dataclass(frozen=True, kw_only=True)
class LightVariation(_Ranges):
    """Light of the scene. It is in `world_scene.usda`; splats and pictures without shading get its mean as a colour."""

    section: ClassVar[str] = "light"
    limits: ClassVar[Mapping[str, Range]] = {
        "dome": (0.0, 100.0),
        "lamp": (0.0, 100.0),
        "temperature_k": (1000.0, 20000.0),
        "sun": (0.0, 20.0),
        "sun_elevation_deg": (1.0, 90.0),
        "sun_temperature_k": (1000.0, 20000.0),
        "each": (0.0, 100.0),
        "lit": (0.0, 1.0),
    }

    dome: Range = (1.0, 1.0)
    """factor of the dome light's intensity"""
    lamp: Range = (1.0, 1.0)
    """factor of the lamps' intensity, in rooms"""
    found: bool = False
    """take the lamps and windows that are found in the photo for the scene's own lamp, where there are some"""
    each: Range = (1.0, 1.0)
    """factor of the intensity of each lamp that was found, besides `lamp`; its temperature is of `temperature_k`"""
    lit: float = 1.0
    """share of the lamps found that are on; the largest one is where no other is"""
    temperature_k: Range = (6500.0, 6500.0)
    """colour temperature of dome and lamp [K]; 6500 is white"""
    sun: Range = (0.0, 0.0)
    """under open sky, a sun's light on level ground at its highest over the dome's; 0 is no sun"""
    sun_elevation_deg: Range = (20.0, 70.0)
    """height of the sun above the horizon [degrees]; it may stand in any direction"""
    sun_temperature_k: Range = (5500.0, 5500.0)
    """colour temperature of the sun [K]"""


@dataclass(frozen=True, kw_only=True)
class CameraVariation(_Ranges):
    """How a camera renders the light."""

    section: ClassVar[str] = "camera"
    limits: ClassVar[Mapping[str, Range]] = {
        "exposure_ev": (-6.0, 6.0),
        "white_balance_k": (2000.0, 20000.0),
        "haze": (0.0, 0.5),
    }

    exposure_ev: Range = (0.0, 0.0)
    """brighter or darker by so many stops"""
    auto_exposure: bool = True
    """the camera gets used to the mean light first, so that light changes colours and shadows but not brightness"""
    white_balance_k: Range = (6500.0, 6500.0)
    """colour temperature that the camera takes for white [K]; higher makes pictures warmer"""
    haze: Range = (0.0, 0.0)
    """share of white light over everything, in pictures without shading"""


@dataclass(frozen=True, kw_only=True)
class SurfaceVariation(_Ranges):
    """What surfaces look and feel like."""

    section: ClassVar[str] = "surface"
    limits: ClassVar[Mapping[str, Range]] = {
        "brightness": (0.1, 3.0),
        "tint": (0.0, 0.5),
        "roughness": (0.0, 1.0),
        "friction": (0.1, 3.0),
        "restitution": (0.0, 0.9),
        "restyle": (0.0, 1.0),
    }

    brightness: Range = (1.0, 1.0)
    """factor of the light that surfaces reflect"""
    tint: Range = (0.0, 0.0)
    """largest difference between the factors of red, green and blue"""
    roughness: Range = (0.9, 0.9)
    """of the visible material; worlds are made with 0.9"""
    friction: Range = (1.0, 1.0)
    """factor of static and dynamic friction, of each kind of surface for itself"""
    within_published: bool = True
    """keep dynamic friction in the range that is published for the material"""
    restitution: Range = (0.0, 0.0)
    """added to the restitution"""
    restyle: float = 0.0
    """share of the variants whose surfaces are of other materials, see `styles`"""


@dataclass(frozen=True, kw_only=True)
class StyleVariation(_Ranges):
    """What surfaces are made of where `surface.restyle` says so; a style gives each kind one of its materials."""

    section: ClassVar[str] = "styles"
    limits: ClassVar[Mapping[str, Range]] = {"light": (0.0, 1.0)}

    count: int = 8
    """how many different styles there are; each is made once, and variants share it"""
    floor: tuple[str, ...] = ("wood", "tile", "stone", "concrete", "carpet", "photo")
    """materials of floors; keep leaves them as they are, photo spreads the sharpest piece that is seen of them"""
    wall: tuple[str, ...] = ("paint", "plaster", "brick", "wallpaper", "panelling", "keep")
    """materials of walls"""
    ceiling: tuple[str, ...] = ("white", "panels", "plaster", "keep")
    """materials of ceilings"""
    object: tuple[str, ...] = ("paint", "wood", "keep")
    """materials of what stands in the room"""
    light: Range = (0.85, 0.85)
    """how much of the light that lies on the surfaces stays, as a power of it"""
    painter: str = "patch"
    """what paints materials where they have to be painted: patch, or inpaint with the weights of `weights`"""
    weights: str = ""
    """weights of the painter: a local folder or a hub id that is on this machine; those of the world when empty"""

    def _check(self) -> None:
        super()._check()
        self._between("count", 1, MOST_STYLES)
        self._choice("painter", ("patch", "inpaint"))
        for kind in STYLED_KINDS:
            object.__setattr__(self, kind, _names(self._path(kind), getattr(self, kind), level=kind in LEVEL_KINDS))


@dataclass(frozen=True, kw_only=True)
class ClutterVariation(_Ranges):
    """Things that stand on the floor: simple convex shapes that belong to nobody."""

    section: ClassVar[str] = "clutter"
    limits: ClassVar[Mapping[str, Range]] = {
        "count": (0.0, 64.0),
        "width_m": (0.05, 2.0),
        "height_m": (0.1, 2.0),
    }
    whole: ClassVar[tuple[str, ...]] = ("count",)

    count: Range = (0.0, 0.0)
    """how many; fewer stand where there is no more room"""
    width_m: Range = (0.15, 0.4)
    """across [m]"""
    height_m: Range = (0.3, 0.9)
    """[m]; not below where lidars look"""
    blocking: bool = False
    """may stand in the way of the world's episodes, which are then drawn anew"""


@dataclass(frozen=True, kw_only=True)
class LayoutVariation(_Ranges):
    """Where things are."""

    section: ClassVar[str] = "layout"
    limits: ClassVar[Mapping[str, Range]] = {"mirrored": (0.0, 1.0)}

    mirrored: float = 0.0
    """share of the variants that are mirror images"""


@dataclass(frozen=True, kw_only=True)
class SplatVariation(_Ranges):
    """Flaws of a reconstruction."""

    section: ClassVar[str] = "splats"
    limits: ClassVar[Mapping[str, Range]] = {
        "floaters": (0.0, 2000.0),
        "floater_size_m": (0.005, 0.5),
        "floater_opacity": (0.05, 0.99),
    }
    whole: ClassVar[tuple[str, ...]] = ("floaters",)

    floaters: Range = (0.0, 0.0)
    """splats that hang in the air; nothing collides with them"""
    floater_size_m: Range = (0.02, 0.1)
    """standard deviation [m]"""
    floater_opacity: Range = (0.2, 0.7)
    """how much light they take"""


@dataclass(frozen=True, kw_only=True)
class VaryConfig(Section):
    """Everything that decides variants, besides the world, the seed and their number."""

    light: LightVariation = field(default_factory=LightVariation)
    camera: CameraVariation = field(default_factory=CameraVariation)
    surface: SurfaceVariation = field(default_factory=SurfaceVariation)
    styles: StyleVariation = field(default_factory=StyleVariation)
    clutter: ClutterVariation = field(default_factory=ClutterVariation)
    layout: LayoutVariation = field(default_factory=LayoutVariation)
    splats: SplatVariation = field(default_factory=SplatVariation)


def load_vary_config(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> VaryConfig:
    """The ranges of a YAML file with single values replaced; `mild` of the package where no file is given.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names the key path.
    """
    if path is None:
        return load_schema(VaryConfig, None, {**_dotted(MILD), **(overrides or {})})
    return load_schema(VaryConfig, path, overrides)


def vary_config_from_dict(data: Mapping[str, Any]) -> VaryConfig:
    """Ranges of nested mappings; raises `ConfigError` that names the key path."""
    return build_section(VaryConfig, data)


def _dotted(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, values in data.items() for key, value in values.items()}


def _names(key_path: str, value: Any, *, level: bool) -> tuple[str, ...]:
    """Materials of a list; raises `ConfigError` for what is none."""
    known = (KEEP, *((PHOTO,) if level else ()), *MATERIALS)
    names = tuple(value) if isinstance(value, list | tuple) else (value,)
    for name in names:
        if name not in known:
            near = nearest(name, list(known)) if isinstance(name, str) else None
            raise ConfigError(
                f"{key_path} holds '{str(name)[:40]}'{f', did you mean {near}?' if near else ''}; expected a list of: "
                f"{', '.join(known)}"
            )
    if not names:
        raise ConfigError(f"{key_path} is empty; expected a list of materials, or [{KEEP}]")
    return names


def _pair(key_path: str, value: Any, *, whole: bool) -> Range:
    """Two finite numbers of a list."""
    ok = isinstance(value, list | tuple) and len(value) == 2
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool)] if ok else []
    if len(numbers) != 2 or not all(math.isfinite(v) for v in numbers):
        raise ConfigError(f"{key_path} is {str(value)[:60]}; expected a range of two numbers, such as [0.5, 2.0]")
    if whole and any(v != int(v) for v in numbers):
        raise ConfigError(f"{key_path} is {list(numbers)}; expected whole numbers")
    return float(numbers[0]), float(numbers[1])


MILD: Mapping[str, Mapping[str, Any]] = {
    "light": {
        "dome": [0.7, 1.4],
        "lamp": [0.7, 1.4],
        "found": True,
        "each": [0.7, 1.4],
        "temperature_k": [5000, 8000],
        "sun": [0.0, 1.0],
    },
    "camera": {"exposure_ev": [-0.5, 0.5], "white_balance_k": [5800, 7400]},
    "surface": {"brightness": [0.9, 1.1], "tint": [0.0, 0.05], "friction": [0.85, 1.15], "restitution": [0.0, 0.03]},
    "clutter": {"count": [0, 3]},
}
"""Ranges that are taken where no file is given: the same as in `config/randomization/mild.yaml`."""
