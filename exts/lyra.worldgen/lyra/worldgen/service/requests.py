"""What users may ask for and what they are told, as schemas that are checked and documented at once.

Settings are a list of what is allowed: no setting that names a file, a folder, a model or a download is in it, and each
number has the range that the service takes, which is often narrower than the configuration's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model  # noqa: TID253

from ..core.config import WorldConfig
from ..core.schema import MAX_SEED, field_docs
from .uploads import NAME

ID = r"^[0-9a-f]{24}$"
PATH = r"^[a-z0-9_-]{1,40}(:[a-z0-9_]{1,30}=[a-z0-9.+-]{1,30}(,[a-z0-9_]{1,30}=[a-z0-9.+-]{1,30}){0,9})?$"
TEXT = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"
Id = Annotated[str, Field(pattern=ID, description="24 hexadecimal digits", examples=["0123456789abcdef01234567"])]
Until = Literal["", "understand", "explore", "reconstruct", "simulate", "certify", "preview"]
Prompt = Annotated[str, Field(max_length=4000, pattern=TEXT)]
CameraPath = Annotated[str, Field(pattern=PATH, max_length=500, examples=["auto", "forward", "spin:turns=1"])]
Marks = Annotated[str, Field(max_length=2000, pattern=r"^[a-z0-9_.,;:=+\- ]*$")]
Material = Literal["auto", "wood", "vinyl", "carpet", "tile", "stone", "concrete", "asphalt", "gravel", "soil", "grass"]


def _whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is the whole number 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(kind: type, low: float, high: float) -> Any:
    bounds = Field(ge=low, le=high)
    return Annotated[kind, bounds, BeforeValidator(_whole)] if kind is int else Annotated[kind, bounds]


LICENCE = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~][ -~]*$")]

ALLOWED: dict[str, dict[str, Any]] = {
    "geometry": {
        "camera_height_m": _number(float, 0.1, 20.0),
        "working_long_side_px": _number(int, 64, 1024),
        "max_extent_m": _number(float, 2.0, 50.0),
    },
    "generation": {
        "painter": Literal["auto", "patch", "inpaint", "lyra2"],
        "path": CameraPath,
        "prompt": Prompt,
        "pose_scale": _number(float, 0.01, 100.0),
        "view_long_side_px": _number(int, 64, 1024),
    },
    "reconstruction": {"texture_px": _number(int, 64, 8192), "splat_budget": _number(int, 1000, 4_000_000)},
    "simulation": {
        "robot_radius_m": _number(float, 0.05, 2.0),
        "robot_height_m": _number(float, 0.05, 4.0),
        "cell_m": _number(float, 0.03, 0.5),
        "episode_count": _number(int, 0, 2000),
        "rest_faces": _number(int, 100, 100_000),
        "floor_material": Material,
        "convex": bool,
        "movable_objects": bool,
    },
    "certificate": {"drops": _number(int, 1, 100), "drive_episodes": _number(int, 0, 20)},
    "source": {"licence": LICENCE},
    "scale": {
        "camera_height_sigma": _number(float, 0.0, 1.0),
        "measure": Marks,
        "known": Marks,
        "tag_size_m": _number(float, 0.01, 10.0),
        "tag_family": Literal["auto", "36h11", "25h9", "16h5"],
    },
}
"""Settings that a user may choose, by section."""


class Strict(BaseModel):
    """Unknown keys and values of other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _settings_model(name: str, allowed: dict[str, dict[str, Any]]) -> type[Strict]:
    sections: dict[str, Any] = {
        "seed": (_number(int, 0, MAX_SEED) | None, Field(None, description="seed of every random stream"))
    }
    default = WorldConfig()
    for section_name, keys in allowed.items():
        docs = field_docs(type(getattr(default, section_name)))
        fields: dict[str, Any] = {
            key: (kind | None, Field(None, description=docs.get(key))) for key, kind in keys.items()
        }
        # Of one name for each set of settings: a description of the service holds both.
        section = create_model(f"{section_name.capitalize()}{name}", __base__=Strict, **fields)
        sections[section_name] = (section | None, None)
    return create_model(name, __base__=Strict, __doc__="What is left out is the service's choice.", **sections)


IMPORT_ALLOWED: dict[str, dict[str, Any]] = {
    "geometry": {"camera_height_m": ALLOWED["geometry"]["camera_height_m"]},
    "source": {
        "up": Literal["auto", "x-up", "x-down", "y-up", "y-down", "z-up", "z-down"],
        "units": Literal["auto", "m", "cm", "mm", "in", "ft"],
        "metres_per_unit": _number(float, 0.001, 1000.0),
        "ceiling_height_m": _number(float, 0.5, 100.0),
        "keep_floaters": bool,
        "licence": LICENCE,
    },
    **{section: ALLOWED[section] for section in ("reconstruction", "simulation", "certificate")},
}
"""Settings that a user may choose for a file of another program, by section."""

Settings = _settings_model("Settings", ALLOWED)
ImportSettings = _settings_model("ImportSettings", IMPORT_ALLOWED)


def chosen(settings: Strict | None) -> dict[str, Any]:
    """Settings that were chosen, by key path."""
    found: dict[str, Any] = {}
    for section, value in (settings.model_dump(exclude_none=True) if settings is not None else {}).items():
        if isinstance(value, dict):
            found |= {f"{section}.{key}": entry for key, entry in value.items()}
        else:
            found[section] = value
    return found


class NewWorld(Strict):
    """A world to make of a photo that was uploaded."""

    photo: Id
    name: Annotated[str, Field(pattern=NAME)] = "world"
    settings: Settings | None = None  # pyright: ignore[reportInvalidTypeForm]
    trajectory: Id | None = Field(None, description="uploaded camera path, in place of a path in the settings")
    captions: Id | None = Field(None, description="uploaded texts by frame, for a walk along a trajectory")
    until: Until = ""


class NewImport(Strict):
    """A world to make of a file of another program that was uploaded."""

    scene: Id
    name: Annotated[str, Field(pattern=NAME)] = "world"
    settings: ImportSettings | None = None  # pyright: ignore[reportInvalidTypeForm]
    until: Literal["", "import", "reconstruct", "simulate", "certify", "preview"] = ""


class ExtendJob(Strict):
    """Explore: the first path of a seeded world, another one of an explored world, or the rest of one cut short."""

    command: Literal["extend"]
    path: CameraPath | None = None
    trajectory: Id | None = None
    captions: Id | None = None
    prompt: Prompt | None = None
    pose_scale: _number(float, 0.01, 100.0) | None = None  # pyright: ignore[reportInvalidTypeForm]
    chunks: _number(int, 1, 1000) | None = None  # pyright: ignore[reportInvalidTypeForm]
    seed: _number(int, 0, MAX_SEED) | None = None  # pyright: ignore[reportInvalidTypeForm]
    until: Until = ""


class UndoJob(Strict):
    """Take back the last chunks."""

    command: Literal["undo"]
    chunks: _number(int, 1, 100_000) = 1  # pyright: ignore[reportInvalidTypeForm]
    until: Until = ""


class FinishJob(Strict):
    """Run what the world lacks."""

    command: Literal["finish"]
    until: Until = ""


class RescaleJob(Strict):
    """Give the world its true size by a factor, a camera height, or marks in the photo."""

    command: Literal["rescale"]
    factor: _number(float, 0.01, 100.0) | None = None  # pyright: ignore[reportInvalidTypeForm]
    camera_height_m: _number(float, 0.02, 100.0) | None = None  # pyright: ignore[reportInvalidTypeForm]
    measure: Marks | None = None
    known: Marks | None = None
    tag_size_m: _number(float, 0.01, 10.0) | None = None  # pyright: ignore[reportInvalidTypeForm]
    until: Until = ""


class CertifyJob(Strict):
    """Measure the world again."""

    command: Literal["certify"]


class PreviewJob(Strict):
    """Draw contact sheet and film again."""

    command: Literal["preview"]


class BranchJob(Strict):
    """Begin a second world from the first chunks of this one."""

    command: Literal["branch"]
    name: Annotated[str, Field(pattern=NAME)] = "branch"
    chunks: _number(int, 1, 100_000) | None = None  # pyright: ignore[reportInvalidTypeForm]
    until: Until = ""


NewJob = Annotated[
    ExtendJob | UndoJob | FinishJob | RescaleJob | CertifyJob | PreviewJob | BranchJob, Field(discriminator="command")
]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class UploadOut(BaseModel):
    id: Id
    kind: Literal["photo", "trajectory", "captions", "scene"]
    name: str
    bytes: int
    sha256: str
    facts: dict[str, Any]
    created: float = Field(description="seconds since 1970")


class JobOut(BaseModel):
    id: Id
    world: Id
    target: Id | None = Field(description="second world that the job makes")
    command: dict[str, Any]
    state: Literal["queued", "running", "finished", "failed", "cancelled"]
    fraction: float = Field(description="0..1")
    stage: str
    note: str
    eta_s: float | None
    message: str = Field(description="why it failed")
    attempts: int
    passed: bool | None = Field(description="verdict of the certificate")
    created: float
    ended: float | None
    run_s: float


class WorldOut(BaseModel):
    id: Id
    name: str
    created: float
    bytes: int
    busy: bool = Field(description="a job waits or runs")
    summary: dict[str, Any] | None = Field(description="verdict, room, scale, licence; null before the first stage")


class NewWorldOut(BaseModel):
    world: WorldOut
    job: JobOut


class FileOut(BaseModel):
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: str
    bytes: int
    sha256: str


class QuotaOut(BaseModel):
    worlds: int
    storage_mib: int
    queued_jobs: int
    job_s: float
    streams: int


class UsageOut(BaseModel):
    worlds: int
    storage_bytes: int
    active_jobs: int


class MeOut(BaseModel):
    name: str
    admin: bool
    quota: QuotaOut
    usage: UsageOut


class HealthOut(BaseModel):
    status: Literal["ok"]
    version: str
    workers: int
    busy_workers: int
    queued_jobs: int
