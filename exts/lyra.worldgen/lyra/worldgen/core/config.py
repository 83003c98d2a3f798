"""Configuration: schema, defaults, strict YAML reading and the resolved dump.

The dataclasses here are the schema and hold the defaults, so the package works without any file; `config/*.yaml` holds
values only. A field's docstring is the help text of its command-line flag. Everything is refused with the key path in
the message: unknown keys (with the nearest name), wrong types, values out of range, keys given twice.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from .annotations import UNITS_M, Annotation, parse_annotations, parse_measures3d
from .errors import ConfigError

LATE_SECTIONS = ("scale", "rescale", "source")
"""Sections that worlds may lack; where they say nothing they change neither a world nor its id."""
TAG_FAMILIES = ("36h11", "25h9", "16h5")
"""AprilTag families that are looked for."""
MAX_CONFIG_BYTES = 2**20
"""Largest configuration file that is read [bytes]."""
S = TypeVar("S", bound="Section")
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Section:
    """Base of all config dataclasses: checks the types of plain fields, then the section's own ranges."""

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, kind in _field_types(type(self)).items():
            if kind in _TYPE_NAMES:
                object.__setattr__(self, name, _typed(self._path(name), getattr(self, name), kind))
        self._check()

    def _check(self) -> None:
        """Ranges and choices; raises `ConfigError`."""

    def _path(self, name: str) -> str:
        return f"{self.section}.{name}" if self.section else name

    def _between(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise ConfigError(f"{self._path(name)} is {value}; expected {low} to {high}")

    def _choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ConfigError(
                f"{self._path(name)} is '{value}'{_suggestion(value, choices)}; expected one of: {', '.join(choices)}"
            )


@dataclass(frozen=True, kw_only=True)
class GeometryConfig(Section):
    """How the photo is understood."""

    section: ClassVar[str] = "geometry"

    backend: str = "auto"
    """geometry backend: auto, embedded, transformers, moge or depth-anything-3"""
    camera_height_m: float = 1.5
    """height of the camera above the floor [m]; the whole world scales with it"""
    working_long_side_px: int = 832
    """the photo is reduced to this long side [px]; smaller photos are not enlarged"""
    max_extent_m: float = 20.0
    """farthest surface with geometry [m]; what lies beyond becomes a backdrop at this distance"""

    def _check(self) -> None:
        self._between("camera_height_m", 0.1, 20.0)
        self._between("working_long_side_px", 64, 8192)
        self._between("max_extent_m", 2.0, 200.0)


@dataclass(frozen=True, kw_only=True)
class ScaleConfig(Section):
    """What is known about the true size of things in the photo, before the world is made."""

    section: ClassVar[str] = "scale"

    camera_height_sigma: float = 0.0
    """relative doubt about the camera's height above the floor (one sigma); 0 says that the height is a guess"""
    ceiling_height_m: float = 0.0
    """measured height of the ceiling above the floor [m]; 0 says that nobody measured it"""
    measure: str = ""
    """distance between two pixels of the photo, x1,y1,x2,y2=0.9m; several with ; between them"""
    known: str = ""
    """thing of known height that stands on the floor, its two ends in pixels, door:x1,y1,x2,y2; several with ;"""
    tag_size_m: float = 0.0
    """side of the black square of AprilTags in the photo [m]; 0 looks for none"""
    tag_family: str = "auto"
    """family of the AprilTags: auto, 36h11, 25h9 or 16h5"""
    exif_distance: bool = False
    """whether the subject distance in the photo's EXIF counts, if there is one"""

    def _check(self) -> None:
        self._between("camera_height_sigma", 0.0, 1.0)
        if self.ceiling_height_m:
            self._between("ceiling_height_m", 0.5, 100.0)
        if self.tag_size_m:
            self._between("tag_size_m", 0.005, 10.0)
        self._choice("tag_family", ("auto", *TAG_FAMILIES))
        for name in ("measure", "known"):
            parse_annotations(self._path(name), getattr(self, name), known=name == "known")

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """What was said about pixels of the photo."""
        measures = parse_annotations(self._path("measure"), self.measure, known=False)
        return measures + parse_annotations(self._path("known"), self.known, known=True)

    @property
    def says_something(self) -> bool:
        """Whether anything but the camera's height tells the scale."""
        return bool(self.annotations or self.tag_size_m or self.exif_distance or self.ceiling_height_m)


@dataclass(frozen=True, kw_only=True)
class RescaleConfig(ScaleConfig):
    """What came to be known about the size after the world was made: all of it is scaled, nothing is painted."""

    section: ClassVar[str] = "rescale"

    factor: float = 0.0
    """metres for each unit of the world as it was generated; 1 as it was, 0 follows from the other settings"""
    factor_sigma: float = 0.0
    """relative doubt about the factor (one sigma); 0 leaves the doubt that the world had"""
    camera_height_m: float = 0.0
    """measured height of the camera above the floor [m]; 0 leaves what the world was made with"""

    def _check(self) -> None:
        super()._check()
        self._between("factor_sigma", 0.0, 1.0)
        if self.camera_height_m:
            self._between("camera_height_m", 0.02, 100.0)
        if self.factor:
            self._between("factor", 1e-3, 1e3)
        if self.camera_height_sigma and not self.camera_height_m:
            raise ConfigError("rescale.camera_height_sigma is given without rescale.camera_height_m; give both")
        if self.factor and self.says_something:
            raise ConfigError("rescale.factor and something measured are both given; give one of the two")

    @property
    def says_something(self) -> bool:
        """Whether anything beyond what the world was made with tells its scale."""
        return super().says_something or bool(self.camera_height_m)


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(Section):
    """How unseen space is explored and painted."""

    section: ClassVar[str] = "generation"

    painter: str = "auto"
    """painter backend: auto, patch, inpaint or lyra2"""
    path: str = "auto"
    """camera path: auto, turn, forward, loop, another preset by name, or a trajectory file (.npz)"""
    prompt: str = ""
    """text for painters that read text"""
    captions: str = ""
    """JSON file of texts by frame number, for a walk along a trajectory file; they replace the prompt"""
    pose_scale: float = 1.1
    """factor on the translations of a trajectory file"""
    view_long_side_px: int = 512
    """long side of painted views [px]"""
    attempts: int = 3
    """how often a frame that contradicts the known geometry is painted, where a depth model can tell"""

    def _check(self) -> None:
        self._between("attempts", 1, 100)
        self._between("pose_scale", 1e-3, 1e3)
        if not 0 < len(self.path) < 4000 or len(self.captions) > 4000:
            raise ConfigError("generation.path or generation.captions is empty or no name; expected a preset or a file")
        self._between("view_long_side_px", 64, 4096)
        if len(self.prompt) > 4000:
            raise ConfigError(f"generation.prompt has {len(self.prompt)} characters; expected at most 4000")


@dataclass(frozen=True, kw_only=True)
class InpaintConfig(Section):
    """How an inpainting pipeline is asked; for the painter `inpaint`."""

    section: ClassVar[str] = "inpaint"

    steps: int = 30
    """denoising steps"""
    guidance: float = 7.0
    """how strictly the prompt is followed"""
    strength: float = 1.0
    """share of the noise schedule that the hole goes through"""
    negative_prompt: str = ""
    """text for what should not appear"""
    tile_px: int = 0
    """side of the tiles that a large picture is painted in [px]; 0 takes the size that the pipeline was trained for"""

    def _check(self) -> None:
        self._between("steps", 1, 1000)
        self._between("guidance", 0.0, 100.0)
        self._between("strength", 0.01, 1.0)
        self._between("tile_px", 0, 4096)
        if len(self.negative_prompt) > 4000:
            raise ConfigError(
                f"inpaint.negative_prompt has {len(self.negative_prompt)} characters; expected at most 4000"
            )


@dataclass(frozen=True, kw_only=True)
class Lyra2Config(Section):
    """How Lyra 2.0 is asked; for the painter `lyra2`."""

    section: ClassVar[str] = "lyra2"

    width_px: int = 832
    """width of the frames [px], a multiple of 16; the released weights were trained at 832 x 480"""
    height_px: int = 480
    """height of the frames [px], a multiple of 16"""
    sampler: str = "unipc"
    """unipc (with guidance) or distilled (four steps, needs the adapter dmd_distillation)"""
    steps: int = 35
    """denoising steps of unipc"""
    guidance: float = 5.0
    """how strictly unipc follows the prompt; 1 asks the network once a step instead of twice"""
    shift: float = 5.0
    """how far the noise levels of unipc are pushed towards noise"""
    keep_known: bool = True
    """whether what the world remembers is laid over the painted frames; false takes the frames as they come"""
    loras: str = ""
    """adapters of the model folder with their weights, for example realism_boost=0.4,detail_enhancer=0.4"""
    caption_model: str = ""
    """local folder of an image-text-to-text model that describes each chunk where no prompt is given"""
    quantize: str = "none"
    """number type of the network's matrices: none, 8bit or 4bit (both need bitsandbytes and a CUDA device)"""
    text_device: str = "auto"
    """where prompts and pictures are read: auto, cpu or cuda; those networks are freed when they have been asked"""

    def _check(self) -> None:
        for name in ("width_px", "height_px"):
            self._between(name, 16, 4096)
            if getattr(self, name) % 16:
                raise ConfigError(f"lyra2.{name} is {getattr(self, name)}; expected a multiple of 16")
        self._choice("sampler", ("unipc", "distilled"))
        self._between("steps", 1, 1000)
        self._between("guidance", 0.0, 100.0)
        self._between("shift", 0.01, 100.0)
        self._choice("quantize", ("none", "8bit", "4bit"))
        self._choice("text_device", ("auto", "cpu", "cuda"))
        self.lora_weights()

    def lora_weights(self) -> dict[str, float]:
        """`loras` by name; raises `ConfigError` for what makes no sense."""
        weights: dict[str, float] = {}
        for part in filter(None, (text.strip() for text in self.loras.split(","))):
            name, equals, value = part.partition("=")
            weight = 1.0 if not equals else float(value) if _is_number(value) else math.nan
            if not name.replace("_", "").replace("-", "").isalnum() or not abs(weight) <= 10 or name in weights:
                raise ConfigError(
                    f"lyra2.loras names '{part[:60]}'; expected each adapter once, as NAME or NAME=WEIGHT with a "
                    "weight between -10 and 10"
                )
            weights[name] = weight
        return weights


@dataclass(frozen=True, kw_only=True)
class ModelsConfig(Section):
    """Foreign weights: which, from where, and how they are held in memory."""

    section: ClassVar[str] = "models"

    painter: str = ""
    """weights of the painter: a local folder or a hub id"""
    depth: str = ""
    """weights of the depth model: a local folder or a hub id"""
    download: bool = False
    """whether weights that are not on this machine may be fetched"""
    device: str = "auto"
    """where models run: auto, cpu or cuda"""
    dtype: str = "auto"
    """number type of the weights: auto, float32, bfloat16 or float16"""
    offload: str = "auto"
    """what leaves the GPU while it is not used: auto, none, model or layers"""

    def _check(self) -> None:
        self._choice("device", ("auto", "cpu", "cuda"))
        self._choice("dtype", ("auto", "float32", "bfloat16", "float16"))
        self._choice("offload", ("auto", "none", "model", "layers"))


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(Section):
    """How views become splats and a mesh."""

    section: ClassVar[str] = "reconstruction"

    texture_px: int = 4096
    """largest side of the texture atlas [px]"""
    splat_budget: int = 1_000_000
    """most Gaussians that are lifted from the views"""
    splat_max_count: int = 0
    """most Gaussians that are left, look-alike neighbours merged; looks better than as small a splat_budget (0: all)"""

    def _check(self) -> None:
        self._between("texture_px", 64, 16384)
        self._between("splat_budget", 1000, 50_000_000)
        self._between("splat_max_count", 0, 50_000_000)


@dataclass(frozen=True, kw_only=True)
class SimulationConfig(Section):
    """How the mesh becomes something to bump into and to drive in."""

    section: ClassVar[str] = "simulation"

    wall_thickness_m: float = 0.2
    """thickness of fitted boxes, away from the room [m]"""
    rest_faces: int = 15_000
    """face budget of the collision mesh for everything that is no box"""
    cell_m: float = 0.05
    """cell size of the occupancy map [m]"""
    robot_radius_m: float = 0.25
    """radius of the robot that must fit [m]"""
    robot_height_m: float = 0.6
    """height of the robot that must fit [m]"""
    episode_count: int = 100
    """navigation episodes to write"""
    nurec: bool = False
    """add the splats as a NuRec package for Isaac Sim 5, whose structure is tested but not verified inside Isaac Sim"""

    def _check(self) -> None:
        self._between("wall_thickness_m", 0.01, 2.0)
        self._between("rest_faces", 100, 1_000_000)
        self._between("cell_m", 0.01, 0.5)
        self._between("robot_radius_m", 0.02, 3.0)
        self._between("robot_height_m", 0.05, 5.0)
        self._between("episode_count", 0, 100_000)


@dataclass(frozen=True, kw_only=True)
class CertificateConfig(Section):
    """How hard the world is tested."""

    section: ClassVar[str] = "certificate"

    drops: int = 24
    """bodies dropped onto the floor"""
    drive_episodes: int = 4
    """planned episodes that a robot drives in PhysX"""
    timeout_s: float = 180.0
    """longest time for the physics process [s]"""

    def _check(self) -> None:
        self._between("drops", 1, 1000)
        self._between("drive_episodes", 0, 1000)
        self._between("timeout_s", 1.0, 86_400.0)


UP_AXES = {"x": "x", "x-up": "x", "-x": "-x", "x-down": "-x", "y": "y", "y-up": "y", "-y": "-y", "y-down": "-y"}
UP_AXES |= {"z": "z", "z-up": "z", "-z": "-z", "z-down": "-z"}
"""Ways to say which axis of a file points up, and that axis."""
SOURCE_KINDS = ("splats", "mesh", "points", "panorama", "views")
"""What can be imported, in whatever format."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig(Section):
    """What is known about a file that is imported."""

    section: ClassVar[str] = "source"

    kind: str = "auto"
    """what the file is: auto finds out from its content; splats, mesh, points, panorama or views (posed pictures)"""
    up: str = "auto"
    """axis of the file that points up: auto, y-up, y-down, z-up, z-down, x-up, x-down (or y, -y, ...); refined by the
    floor that is found"""
    units: str = "auto"
    """length of one unit of the file: m, cm, mm, in or ft; auto estimates it"""
    metres_per_unit: float = 0.0
    """metres for each unit of the file, when it is none of the usual ones; 0 leaves it to units"""
    measure3d: str = ""
    """distance between two points in the file's own coordinates, x,y,z:x,y,z=0.9m; several with ; between them"""
    ceiling_height_m: float = 0.0
    """measured height of the ceiling above the floor [m]; 0 says that nobody measured it"""
    keep_floaters: bool = False
    """whether splats that hang in the air on their own stay"""
    voxel_m: float = 0.0
    """edge of the voxels in which splats become a surface [m]; 0 chooses it by the size of the place"""
    max_faces: int = 120_000
    """most faces of the mesh that people see"""
    licence: str = "unknown, as given by its owner"
    """licence of the file, as its owner states it: an SPDX id or a short text"""

    def _check(self) -> None:
        self._choice("kind", ("auto", *SOURCE_KINDS))
        self._choice("up", ("auto", *UP_AXES))
        self._choice("units", ("auto", *UNITS_M))
        if self.metres_per_unit:
            self._between("metres_per_unit", 1e-3, 1e3)
            if self.units != "auto":
                raise ConfigError("source.units and source.metres_per_unit are both given; give one of the two")
        if self.ceiling_height_m:
            self._between("ceiling_height_m", 0.5, 100.0)
        if self.voxel_m:
            self._between("voxel_m", 0.005, 1.0)
        self._between("max_faces", 1000, 2_000_000)
        if not self.licence.strip() or len(self.licence) > 500:
            raise ConfigError("source.licence is empty or longer than 500 characters; expected an SPDX id or a line")
        parse_measures3d(self._path("measure3d"), self.measure3d)


@dataclass(frozen=True, kw_only=True)
class WorldConfig(Section):
    """Everything that decides what a world looks like, besides the photo."""

    seed: int = 0
    """every random stream derives from it"""
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    inpaint: InpaintConfig = field(default_factory=InpaintConfig)
    lyra2: Lyra2Config = field(default_factory=Lyra2Config)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    certificate: CertificateConfig = field(default_factory=CertificateConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    rescale: RescaleConfig = field(default_factory=RescaleConfig)
    source: SourceConfig = field(default_factory=SourceConfig)

    def _check(self) -> None:
        # The range of a torch and NumPy seed on every platform.
        self._between("seed", 0, 2**32 - 1)


def load_config(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> WorldConfig:
    """The configuration of a YAML file with single values replaced.

    Args:
        path: a YAML file, or None for the defaults. Keys that it does not name keep their defaults.
        overrides: values by key path, for example `{"generation.path": "turn", "seed": 7}`; they win over the file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names the key path.
    """
    return load_schema(WorldConfig, path, overrides)


def load_schema(schema: type[S], path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> S:
    """`load_config` for another tree of config dataclasses.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names the key path.
    """
    data = _read_yaml(Path(path)) if path is not None else {}
    for key_path, value in (overrides or {}).items():
        *sections, name = key_path.split(".")
        place = data
        for part in sections:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
            if not isinstance(place, dict):
                raise ConfigError(f"{part} is {_show(place)}; expected a section with keys")
        place[name] = value
    try:
        return _build(schema, data, "", schema)
    except ConfigError as error:
        if path is None:
            raise
        raise ConfigError(f"{error}: {path}") from error


def config_from_dict(data: Mapping[str, Any]) -> WorldConfig:
    """The configuration of nested mappings as YAML or JSON give them; what they leave out keeps its default.

    Raises:
        ConfigError: unknown key, wrong type or value out of range; the message names the key path.
    """
    return _build(WorldConfig, data, "", WorldConfig)


def resolved_dict(config: Section) -> dict[str, Any]:
    """All values, defaults included, as plain JSON types; `config_from_dict` reads a `WorldConfig` back."""
    assert dataclasses.is_dataclass(config), "sections are dataclasses"
    return dataclasses.asdict(config)


def resolved_yaml(config: Section) -> str:
    """The resolved configuration as YAML text in schema order."""
    import yaml

    return yaml.safe_dump(resolved_dict(config), sort_keys=False, allow_unicode=True)


def with_late_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration, also one from before these sections existed, with every section that came later."""
    default = WorldConfig()
    return {**{name: dataclasses.asdict(getattr(default, name)) for name in LATE_SECTIONS}, **config}


def without_unsaid(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without the late sections that say nothing, as worlds from before them have it."""
    default = with_late_sections({})
    return {name: value for name, value in config.items() if name not in default or value != default[name]}


def differing_keys(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Key paths whose values differ between two resolved dictionaries, in schema order."""
    keys: list[str] = []
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys += differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(f"{prefix}{key}")
    return keys


@cache
def field_docs(cls: type) -> dict[str, str]:
    """Docstrings that follow the fields of a config dataclass, inherited ones included, by field name.

    Empty where the source is not shipped.
    """
    inherited = [field_docs(base) for base in cls.__bases__ if dataclasses.is_dataclass(base)]
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs = {name: text for found in inherited for name, text in found.items()}
    for statement, following in itertools.pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[statement.target.id] = inspect.cleandoc(str(following.value.value)).replace("\n", " ")
    return docs


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that `name` most resembles, if any comes close."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


@cache
def _field_types(cls: type) -> dict[str, type]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _typed(key_path: str, value: Any, kind: type) -> Any:
    """`value` as `kind`; whole numbers pass as numbers, nothing else is converted."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else value
    if type(value) is not kind:
        hint = ""
        if kind is float and isinstance(value, str) and _is_number(value):
            hint = f" (YAML reads {value} as text; write {float(value)!r})"
        raise ConfigError(f"{key_path} is {_show(value)}; expected {_TYPE_NAMES[kind]}{hint}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{key_path} is {value}; expected a finite number")
    return value


def _build(cls: type, data: Any, prefix: str, schema: type) -> Any:
    if data is None:
        data = {}  # a section header with nothing below it
    if not isinstance(data, Mapping):
        where = prefix.rstrip(".") or "the configuration"
        raise ConfigError(f"{where} is {_show(data)}; expected a section with keys")
    types = _field_types(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in types:
            raise ConfigError(f"unknown key {prefix}{str(key)[:60]}{_elsewhere(str(key), list(types), prefix, schema)}")
        kind = types[key]
        values[key] = _build(kind, value, f"{prefix}{key}.", schema) if dataclasses.is_dataclass(kind) else value
    return cls(**values)


def _elsewhere(key: str, known: list[str], prefix: str, schema: type) -> str:
    """The hint after an unknown key: the nearest name here, else the same name in another section."""
    if near := nearest(key, known):
        return f"; did you mean '{near}'?"
    for name, kind in _field_types(schema).items():
        if dataclasses.is_dataclass(kind) and (near := nearest(key, list(_field_types(kind)))):
            return f"; did you mean '{name}.{near}'?"
    where = prefix.rstrip(".") or "the top level"
    return f"; {where} has: {', '.join(known)}"


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    class StrictLoader(yaml.SafeLoader):
        """Refuses a key that stands twice in one mapping, which YAML loaders pass over in silence."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    continue
                if key_node.value in seen:
                    line = key_node.start_mark.line + 1
                    raise ConfigError(f"key '{key_node.value}' stands twice (line {line}); keep one: {path}")
                seen.add(key_node.value)
            return super().construct_mapping(node, deep)

    try:
        if path.is_dir():
            raise ConfigError(f"the configuration is a folder; expected a YAML file: {path}")
        with open(path, "rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigError(f"the configuration has more than {MAX_CONFIG_BYTES} bytes; expected a YAML file: {path}")
        data = yaml.load(raw.decode("utf-8-sig"), StrictLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"the configuration file does not exist; check the path: {path}") from error
    except OSError as error:
        raise ConfigError(f"the configuration cannot be read ({error.strerror}): {path}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration is not UTF-8 text; expected a YAML file: {path}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"the configuration is no valid YAML ({reason}{line}): {path}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"the configuration is {_show(data)}; expected sections with keys: {path}")
    return data


def _suggestion(value: str, choices: tuple[str, ...]) -> str:
    near = nearest(value, list(choices))
    return f", did you mean '{near}'?" if near else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value[:60]}'"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else str(value)[:60]
