"""Styles: other materials for all surfaces of a world, each made once beside the variants that share it.

A style is two layers and a picture. `visual.usda` names the picture for the world's texture, `splats.usdc` holds the
colours of the world's splats anew; both go between a variant's layer and its base's. They state standard attributes
only, so any renderer shows them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.config import config_from_dict
from ..core.files import sha256_file, sha256_json, write_json
from ..core.mesh import Label
from ..core.schema import resolved_dict
from ..core.splats import GaussianCloud, sh_from_rgb
from ..sim.usd_mesh import write_jpeg
from ..sim.usd_read import read_splats_usd
from ..sim.usd_splats import GAUSSIANS
from ..sim.usd_stage import bare_copy, new_stage, save_layer
from .base import Base
from .config import KEEP, PHOTO, STYLED_KINDS, StyleVariation
from .draw import stream
from .exemplar import painted_sheet, photo_sheet
from .folders import made_aside, remove_files
from .materials import Sheet, make_sheet
from .restyle import SheetReader, restyled
from .surface_map import SurfaceMap, map_surfaces

if TYPE_CHECKING:
    from ..generation.painter import Painter

STYLES_NAME = "styles"
RECORD_NAME = "style.json"
REVISION = 1
"""Of how a style becomes files."""
MOST_OVERLAP = 1.1
TURNS_RAD = {"floor": (0.0, np.pi / 2, np.pi / 4), "ceiling": (0.0, np.pi / 2)}
"""How floors and ceilings may lie in the room; walls and things stand upright."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """A finished style."""

    name: str
    folder: Path
    surfaces: Mapping[str, Any]
    """What each kind of surface is made of; without those that stay."""
    sha256: str
    """Over its files."""
    palette: np.ndarray
    """[K, 3] what the base's palette has become, sRGB in 0..1."""
    has_splats: bool

    def layer(self, payload: str) -> Path | None:
        """What goes over the base's payload of that name."""
        if payload == "visual":
            return self.folder / "visual.usda"
        return self.folder / "splats.usdc" if payload == "splats" and self.has_splats else None

    def facts(self) -> dict[str, Any]:
        """JSON values for a variant's record."""
        return {"name": self.name, "sha256": self.sha256, "surfaces": self.surfaces}


class Styles:
    """The styles of one folder of variants; a style is made when the first variant asks for it."""

    def __init__(self, folder: Path, base: Base, cfg: StyleVariation, *, seed: int) -> None:
        """
        Args:
            folder: of the variants.
            base: the world.
            cfg: materials.
            seed: style k follows from it and k.
        """
        self._folder, self._base, self._cfg, self._seed = folder, base, cfg, seed
        self._made: dict[int, Style] = {}
        self._sheets: dict[str, Sheet | None] = {}

    @cached_property
    def refused(self) -> str:
        """Why the world's surfaces cannot be of other materials; empty if they can."""
        if self._base.unstyled:
            return self._base.unstyled
        if self._map.overlap > MOST_OVERLAP:
            return "the world's texture shows several places of its mesh with the same texels"
        return ""

    def get(self, number: int) -> Style:
        """A style, made if it is not there or not as it was left; only where nothing is `refused`."""
        if number not in self._made:
            name = style_name(number)
            folder = self._folder / STYLES_NAME / name
            inputs = self._inputs(number)
            if not _is_there(folder, inputs):
                self._make(folder, number, inputs)
            self._made[number] = _read(folder, name)
        return self._made[number]

    def remove_others(self) -> None:
        """Remove the styles that no variant has asked for, and the folder of styles if nothing is left in it."""
        root = self._folder / STYLES_NAME
        names = {style.name for style in self._made.values()}
        for folder in sorted(root.glob("style_*")):
            if folder.name not in names:
                _remove(folder)
        with contextlib.suppress(OSError):
            root.rmdir()

    @cached_property
    def _solid(self) -> GaussianCloud | None:
        if not self._base.has_splats:
            return None
        splats = read_splats_usd(self._base.world.path("payloads/splats.usdc"))
        return splats if splats.labels is None else splats.take(splats.labels != Label.SKY)

    @cached_property
    def _map(self) -> SurfaceMap:
        return map_surfaces(self._base.mesh, self._solid)

    @cached_property
    def _painter(self) -> Painter:
        from ..generation.painter import PAINTERS

        plain = json.loads(json.dumps(dict(self._base.world.manifest.config)))
        if self._cfg.weights:
            plain.setdefault("models", {})["painter"] = self._cfg.weights
        return PAINTERS.load(self._cfg.painter).from_config(config_from_dict(plain))

    def _inputs(self, number: int) -> str:
        manifest = self._base.world.manifest
        decides = {"id": manifest.id, "content": manifest.content_sha256, "styles": resolved_dict(self._cfg)}
        return sha256_json({**decides, "seed": self._seed, "number": number, "revision": REVISION})

    def _make(self, folder: Path, number: int, inputs: str) -> None:
        _remove(folder)
        with made_aside(folder, RECORD_NAME) as partial:
            record = self._write(partial, number)
            files = {path.name: sha256_file(path) for path in sorted(partial.iterdir())}
            write_json(partial / RECORD_NAME, {"inputs": inputs, **record, "files": files})

    def _write(self, folder: Path, number: int) -> dict[str, Any]:
        base = self._base
        assert base.mesh.texture_u8 is not None, "the base can be styled"
        readers: dict[str, SheetReader] = {}
        surfaces: dict[str, Any] = {}
        light = float(stream(self._seed, number, "style light").uniform(*self._cfg.light))
        for kind in STYLED_KINDS:
            if kind not in self._map.texels:
                continue
            drawn = self._surface(kind, number)
            if drawn is not None:
                readers[kind], surfaces[kind] = drawn
        texture = base.mesh.texture_u8
        shown = restyled(texture.reshape(-1, 3), self._map.texels, readers, light=light).reshape(texture.shape)
        write_jpeg(folder / "albedo.jpg", shown)
        _write_visual(folder / "visual.usda")
        if self._solid is not None:
            rgb_u8 = np.rint(self._solid.rgb() * 255).astype(np.uint8)
            changed = restyled(rgb_u8, self._map.splats, readers, light=light)
            # Splats that keep their colours keep them to the last bit.
            rgb = np.where(changed == rgb_u8, self._solid.rgb(), changed / np.float32(255))
            _write_splats(folder / "splats.usdc", rgb)
        h, w = texture.shape[:2]
        column = np.clip(base.palette_uv[:, 0] * w, 0, w - 1).astype(int)
        row = np.clip((1 - base.palette_uv[:, 1]) * h, 0, h - 1).astype(int)
        return {
            "surfaces": surfaces,
            "light": round(light, 6),
            "palette_u8": shown[row, column].tolist(),
            "has_splats": self._solid is not None,
        }

    def _surface(self, kind: str, number: int) -> tuple[SheetReader, dict[str, Any]] | None:
        """The material of one kind of surface in one style, and what to say about it; None to keep what is there."""
        rng = stream(self._seed, number, f"style {kind}")
        names = getattr(self._cfg, kind)
        material = names[int(rng.integers(len(names)))]
        if material == KEEP:
            return None
        sheet = self._photo(kind) if material == PHOTO else make_sheet(material, rng)
        if sheet is None:
            return None
        if material != PHOTO and self._cfg.painter != "patch":
            again = int(rng.integers(2**31))
            sheet = painted_sheet(sheet, self._painter, material=material, kind=kind, seed=again)
        turns = TURNS_RAD.get(kind, (0.0,))
        turn = float(turns[int(rng.integers(len(turns)))])
        shift = rng.uniform(0.0, 8.0, 2).round(3)
        reader = SheetReader(sheet, turn_rad=turn, shift_m=(float(shift[0]), float(shift[1])))
        facts = {"material": material, "turn_rad": round(turn, 6), "shift_m": shift.tolist(), **sheet.facts}
        return reader, facts

    def _photo(self, kind: str) -> Sheet | None:
        """Painted once for all styles."""
        if kind not in self._sheets:
            texture = self._base.mesh.texture_u8
            assert texture is not None
            seed = int(stream(self._seed, 0, f"style photo {kind}").integers(2**31))
            places = self._map.texels[kind]
            self._sheets[kind] = photo_sheet(texture.reshape(-1, 3), places, self._painter, kind=kind, seed=seed)
        return self._sheets[kind]


def style_name(number: int) -> str:
    """Of a style's folder."""
    return f"style_{number:03d}"


def _is_there(folder: Path, inputs: str) -> bool:
    record = folder / RECORD_NAME
    if not record.is_file():
        return False
    try:
        plain = json.loads(record.read_bytes())
        files = dict(plain["files"])
        same = plain["inputs"] == inputs and {"albedo.jpg", "visual.usda"} <= files.keys()
        return same and all(sha256_file(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove(folder: Path) -> None:
    """Remove a style; what has no record that can be read is not ours to remove."""
    if folder.is_symlink():
        return
    try:
        names = list(dict(json.loads((folder / RECORD_NAME).read_bytes())["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return
    remove_files(folder, names, RECORD_NAME)


def _read(folder: Path, name: str) -> Style:
    plain = json.loads((folder / RECORD_NAME).read_bytes())
    return Style(
        name=name,
        folder=folder,
        surfaces=plain["surfaces"],
        sha256=sha256_json(plain["files"]),
        palette=np.array(plain["palette_u8"], float) / 255,
        has_splats=plain["has_splats"],
    )


def _write_visual(path: Path) -> None:
    from pxr import Sdf, UsdShade

    stage = new_stage()
    image = UsdShade.Shader(stage.OverridePrim("/World/Looks/world/albedo"))
    image.CreateInput("file", Sdf.ValueTypeNames.Asset).Set("./albedo.jpg")
    save_layer(bare_copy(stage), path)


def _write_splats(path: Path, rgb: np.ndarray) -> None:
    """Colours [N, 3] of all splats but the sky's, the same from every side."""
    from pxr import Sdf, UsdGeom, Vt

    stage = new_stage()
    prim = stage.OverridePrim(GAUSSIANS)
    types = Sdf.ValueTypeNames
    prim.CreateAttribute("radiance:sphericalHarmonicsDegree", types.Int, False, Sdf.VariabilityUniform).Set(0)
    coefficients = prim.CreateAttribute("radiance:sphericalHarmonicsCoefficients", types.Float3Array, False)
    flat = np.ascontiguousarray(sh_from_rgb(rgb).reshape(-1, 3))
    coefficients.Set(Vt.Vec3fArray.FromNumpy(flat))
    UsdGeom.Primvar(coefficients).SetElementSize(1)
    # Viewers without splats draw points; a second copy of all colours for them would double the size.
    prim.CreateAttribute("primvars:displayColor", types.Color3fArray, False).Block()
    save_layer(bare_copy(stage), path)
