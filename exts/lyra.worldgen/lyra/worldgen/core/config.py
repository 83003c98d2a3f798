"""Configuration of a world: every setting with its default, its range and its help text.

The dataclasses here hold the defaults, so the package works without any file; `config/*.yaml` holds values only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .annotations import UNITS_M, Annotation, Measure3d, parse_annotations, parse_measures3d
from .errors import ConfigError
from .schema import MAX_SEED, Section, build_section, is_number, load_schema

LATE_SECTIONS = ("scale", "rescale", "source")
"""Sections that worlds may lack; where they say nothing they change neither a world nor its id."""
MOST_LEVELS = 8
"""Coarser copies of a mesh that can be asked for."""
LATE_KEYS: Mapping[str, tuple[str, ...]] = {
    "reconstruction": ("lod_faces",),
    "simulation": ("floor_material", "wall_material", "object_material", "convex", "movable_objects"),
    "certificate": ("newton",),
}
"""Keys of older sections that worlds may lack, by section; at their defaults they change neither a world nor its id."""
TAG_FAMILIES = ("36h11", "25h9", "16h5")
"""AprilTag families that are looked for."""
SURFACE_MATERIALS = (
    *("wood", "vinyl", "carpet", "tile", "stone", "concrete", "asphalt", "gravel", "soil", "grass", "glass", "metal"),
    *("plaster", "fabric", "indoor_floor", "outdoor_ground", "furniture"),
)
"""What surfaces can be made of; `sim/surface_materials.py` has their numbers."""


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
    """farthest surface with geometry [m], half as far again in rooms; beyond it a backdrop stands"""

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
            weight = 1.0 if not equals else float(value) if is_number(value) else math.nan
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
    lod_faces: str = "200000, 50000, 12000"
    """most faces of each coarser copy of the mesh, separated by commas; empty: only the full mesh"""

    @property
    def level_budgets(self) -> tuple[int, ...]:
        """Faces of the coarser copies of the mesh."""
        return tuple(int(part) for part in self.lod_faces.split(",") if part.strip())

    def _check(self) -> None:
        try:
            budgets = self.level_budgets
        except ValueError:
            budgets = (0,)
        if len(budgets) > MOST_LEVELS or any(not 100 <= budget <= 50_000_000 for budget in budgets):
            raise ConfigError(
                f"{self._path('lod_faces')} is '{self.lod_faces}'; expected up to {MOST_LEVELS} numbers of "
                "faces from 100 to 50000000, separated by commas"
            )
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
    floor_material: str = "auto"
    """what the floor is made of, for friction: wood, tile, ... or auto (see docs/colliders.md)"""
    wall_material: str = "auto"
    """what walls and ceilings are made of"""
    object_material: str = "auto"
    """what things in the world are made of, for friction and mass"""
    convex: bool = False
    """add a second collider without triangle meshes, for solvers that take a mesh for its convex hull"""
    movable_objects: bool = False
    """split off what stands free on the floor as rigid bodies that can be pushed"""

    def _check(self) -> None:
        for name in ("floor_material", "wall_material", "object_material"):
            self._choice(name, ("auto", *SURFACE_MATERIALS))
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
    newton: bool = False
    """drop bodies in Newton, too; the first time on a machine its kernels compile for minutes"""

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
    """licence of the photo or file, as its owner states it: an SPDX id or a short text"""

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

    @property
    def up_axis(self) -> str | None:
        """The axis that was said to point up: x, -x, y, -y, z or -z."""
        return None if self.up == "auto" else UP_AXES[self.up]

    @property
    def measures3d(self) -> tuple[Measure3d, ...]:
        """The lengths that were measured."""
        return parse_measures3d(self._path("measure3d"), self.measure3d)


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
        self._between("seed", 0, MAX_SEED)


def load_config(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> WorldConfig:
    """The configuration of a YAML file with single values replaced.

    Args:
        path: a YAML file, or None for the defaults. Keys that it does not name keep their defaults.
        overrides: values by key path, for example `{"generation.path": "turn", "seed": 7}`; they win over the file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names the key path.
    """
    return load_schema(WorldConfig, path, overrides)


def config_from_dict(data: Mapping[str, Any]) -> WorldConfig:
    """The configuration of nested mappings as YAML or JSON give them; what they leave out keeps its default.

    Raises:
        ConfigError: unknown key, wrong type or value out of range; the message names the key path.
    """
    return build_section(WorldConfig, data)


def with_late_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration, also one from before they existed, with every section and key that came later."""
    default = dataclasses.asdict(WorldConfig())
    full = {**{name: default[name] for name in LATE_SECTIONS}, **config}
    for name, keys in LATE_KEYS.items():
        if isinstance(full.get(name), Mapping):
            full[name] = {**full[name], **{key: default[name][key] for key in keys if key not in full[name]}}
    return full


def without_unsaid(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without the late sections and keys that say nothing, as older worlds have it."""
    default = dataclasses.asdict(WorldConfig())
    said = {name: value for name, value in config.items() if name not in LATE_SECTIONS or value != default[name]}
    for name, keys in LATE_KEYS.items():
        if isinstance(said.get(name), Mapping):
            unsaid = {key for key in keys if said[name].get(key) == default[name][key]}
            said[name] = {key: value for key, value in said[name].items() if key not in unsaid}
    return said


def value_at(config: Mapping[str, Any], key_path: str) -> Any:
    """What a configuration as a dictionary says at `section.key`; None where it says nothing."""
    value: Any = config
    for part in key_path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
