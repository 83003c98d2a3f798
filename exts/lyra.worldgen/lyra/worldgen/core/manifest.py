"""What `world.json` says, format 1: its records, and reading and writing them as JSON.

`world.json` is the only authority on what a folder holds: a file belongs to the world when a stage lists it with its
size and hash, everything else is somebody's business. Names inside are relative, with forward slashes. The only values
that differ between two runs of one job are the `seconds` of its stages.

Source: the folder layout in `docs/architecture.md`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from .base_world import BaseRecord, base_from_json, base_to_json
from .config import SOURCE_KINDS, without_unsaid
from .errors import InputError
from .files import explain_os_error, sha256_json
from .journey import Leg, journey_from_json, leg_to_json
from .licences import strictest_licence
from .scaling import expect_factor

FORMAT = 1
"""Version of the folder layout and of `world.json` that this code reads and writes."""
MANIFEST_NAME = "world.json"
WORLD_LIST_NAME = "worlds.json"
"""Lists the worlds of a folder that keeps them in several places below it: an object whose `worlds` are objects with
`folder`, relative to the list."""
PHOTO_KIND = "photo"
MAX_MANIFEST_BYTES = 16 * 2**20
"""Largest `world.json` that is read [bytes]."""
VERDICTS = ("passed", "failed", "incomplete")
"""What a certificate may say; incomplete when a check could not be made on this machine."""
LATE_STAGES = ("certify", "preview")
"""Stages that only tell about a finished world."""
VARY = "vary"
"""Stage that makes a variant of another world."""
SCALE_STAGES = ("reconstruct", "understand", "import", VARY)
"""Stages that may state the scale; the first one that does is right."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of the world."""

    size: int
    """[bytes]."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One finished stage: what went in, what made it, what came out."""

    inputs: str
    """SHA-256 of everything that decides the result: photo, config section, seed, revision, the stage before."""
    backend: str = ""
    model: str = ""
    weights_licence: str = ""
    """SPDX id or short text; empty when no weights were used."""
    versions: dict[str, str] = field(default_factory=dict)
    """Packages that took part."""
    seconds: float = 0.0
    """Wall time of the run that finished it [s]."""
    files: dict[str, FileRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the stage found out; JSON values."""
    findings: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PhotoRecord:
    """Where the world comes from: a photo, or a file of another kind that was imported."""

    name: str
    """File name that the user gave, without folder."""
    sha256: str
    size_px: tuple[int, int] = (1, 1)
    """Width and height of a photo, upright."""
    kind: str = PHOTO_KIND
    """`photo`, or what was imported: one of `config.SOURCE_KINDS`."""
    licence: str = ""
    """Licence of what was imported, as its owner states it."""

    @property
    def imported(self) -> bool:
        return self.kind != PHOTO_KIND


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How sure the metres are."""

    metres_per_unit: float
    """What one unit of `memory/` is; everything else in the folder is in metres."""
    source: str
    """What the scale rests on: `camera_height`, a known distance, ..."""
    relative_sigma: float
    """One standard deviation."""
    evidence: tuple[dict[str, Any], ...] = ()
    """What was fused, as `generation.scale` states it."""

    @property
    def text(self) -> str:
        """How far a metre may be off, in a reader's words."""
        digits = 2 if self.relative_sigma >= 0.01 else 3
        return f"1.00 m is 1.00 ± {self.relative_sigma:.{digits}f} m"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `world.json`."""

    generator: str
    """Name and version of the program."""
    photo: PhotoRecord
    config: dict[str, Any]
    """Resolved, as `resolved_dict` gives it; holds the seed."""
    plan: tuple[str, ...]
    """Stages that a finished world has, in order."""
    stages: dict[str, StageRecord] = field(default_factory=dict)
    """Finished stages by name; parts of a stage are called `stage/part`."""
    parents: tuple[str, ...] = ()
    """Ids of the worlds that this one was extended or varied from."""
    journey: tuple[Leg, ...] = ()
    """How it was explored, when that is more or less than the configuration says."""
    base: BaseRecord | None = None
    """The world that this one is a variant of; None for a world of its own."""
    format: int = FORMAT

    @property
    def seed(self) -> int:
        seed = self.config.get("seed")
        return seed if type(seed) is int else 0

    @property
    def id(self) -> str:
        """16 hexadecimal digits that follow from the photo, the config, the journey and the format.

        Those of a variant follow from its base and what was drawn for it.
        """
        if self.base is not None:
            drawn = self.stages[VARY].facts if VARY in self.stages else {}
            return sha256_json({"base": self.base.sha256, "drawn": drawn})[:16]
        return world_id(self.photo.sha256, self.config, self.journey)

    @property
    def content_sha256(self) -> str:
        """Hash over the files that the world consists of; certificate and preview, which are only said about it, do not
        count."""
        stages = {name: record for name, record in self.stages.items() if name not in LATE_STAGES}
        return sha256_json({stage: {n: f.sha256 for n, f in r.files.items()} for stage, r in stages.items()})

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`, a fact of the stage `certify`; empty before it."""
        verdict = self.fact("certify", "verdict")
        return verdict if verdict in VERDICTS else ""

    @property
    def confidence(self) -> float | None:
        """How well the photo was understood, 0..1."""
        value = self.fact("understand", "confidence")
        return _finite(self.fact("import", "confidence") if value is None else value)

    @property
    def mode(self) -> str:
        """How the photo was understood, see `PhotoGeometry.mode`."""
        mode = self.fact("understand", "mode")
        return mode if isinstance(mode, str) else ""

    @property
    def scale(self) -> Scale | None:
        """A fact of the stage `understand` or `import`, or of `reconstruct` once it was rescaled; None before."""
        for stage in SCALE_STAGES:
            fact = self.fact(stage, "scale")
            if not isinstance(fact, dict):
                continue
            metres, sigma = _finite(fact.get("metres_per_unit")), _finite(fact.get("relative_sigma"))
            if metres is None or sigma is None:
                continue
            evidence = fact.get("evidence")
            return Scale(
                metres_per_unit=metres,
                source=str(fact.get("source", "")),
                relative_sigma=sigma,
                evidence=tuple(e for e in evidence if isinstance(e, dict)) if isinstance(evidence, list) else (),
            )
        return None

    @property
    def metres_per_unit(self) -> float:
        """Factor that takes `memory/` to metres; raises `InputError` if the manifest states one that cannot be."""
        scale = self.scale
        return 1.0 if scale is None else expect_factor("scale.metres_per_unit", scale.metres_per_unit)

    def fact(self, stage: str, key: str) -> Any:
        """One thing that a stage found out; None if it has not."""
        record = self.stages.get(stage)
        return record.facts.get(key) if record else None

    @property
    def licence(self) -> str:
        """The strictest licence of the weights that took part and of what was imported.

        A photo's own licence is its owner's to state.
        """
        return strictest_licence(record.weights_licence for record in self.stages.values())

    @property
    def finished(self) -> bool:
        """True when every planned stage is recorded."""
        return all(name in self.stages for name in self.plan)

    def files(self) -> dict[str, FileRecord]:
        """All files of the world by name, sorted."""
        found = {name: entry for record in self.stages.values() for name, entry in record.files.items()}
        return dict(sorted(found.items()))

    def with_stage(self, name: str, record: StageRecord) -> Manifest:
        """The manifest with one more finished stage, stages in the order of the plan."""
        stages = {**self.stages, name: record}
        return replace(self, stages=dict(sorted(stages.items(), key=lambda item: self._rank(item[0]))))

    def without_stages(self, names: Iterable[str]) -> Manifest:
        """The manifest without some stages; what only they knew is forgotten."""
        gone = set(names)
        return replace(self, stages={n: r for n, r in self.stages.items() if n not in gone})

    def _rank(self, name: str) -> tuple[int, bool, str]:
        root = name.partition("/")[0]
        order = self.plan.index(root) if root in self.plan else len(self.plan)
        return order, "/" not in name, name  # the parts of a stage come before the stage


def world_id(photo_sha256: str, config: Mapping[str, Any], journey: Iterable[Leg] = ()) -> str:
    """Id of the world that a photo, a resolved configuration and a journey lead to."""
    decides: dict[str, Any] = {"format": FORMAT, "photo": photo_sha256, "config": without_unsaid(config)}
    if legs := [leg_to_json(leg) for leg in journey]:
        decides["journey"] = legs
    return sha256_json(decides)[:16]


def safe_name(name: object, where: str = MANIFEST_NAME) -> str:
    """A file name inside a world folder; raises `InputError` for anything that could lead out of it."""
    text = name if isinstance(name, str) else ""
    parts = PurePosixPath(text).parts
    bad = (
        not text
        or len(text) > 400
        or text != "/".join(parts)
        or text.startswith(("/", "~"))
        or ".." in parts
        or re.search(r'[\\:*?"<>|\x00-\x1f]', text) is not None
        or parts[0].lower() in (MANIFEST_NAME, ".lock", ".pending.json")
        or parts[0].endswith(".partial")
    )
    if bad:
        raise InputError(f"{where} names the file {str(name)[:80]!r}; expected a relative path inside the world folder")
    return text


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """JSON value of a manifest, in reading order."""
    scale = manifest.scale
    return {
        "format": manifest.format,
        "generator": manifest.generator,
        "id": manifest.id,
        "finished": manifest.finished,
        "verdict": manifest.verdict,
        **_origin_to_json(manifest.photo),
        "seed": manifest.seed,
        "licence": manifest.licence,
        "parents": list(manifest.parents),
        **({} if manifest.base is None else {"base": base_to_json(manifest.base)}),
        "journey": [leg_to_json(leg) for leg in manifest.journey],
        "confidence": manifest.confidence,
        "mode": manifest.mode,
        "scale": None
        if scale is None
        else {
            "metres_per_unit": scale.metres_per_unit,
            "source": scale.source,
            "relative_sigma": scale.relative_sigma,
            "evidence": list(scale.evidence),
        },
        "config": manifest.config,
        "plan": list(manifest.plan),
        "stages": {
            name: {
                "inputs": record.inputs,
                "backend": record.backend,
                "model": record.model,
                "weights_licence": record.weights_licence,
                "versions": record.versions,
                "seconds": record.seconds,
                "facts": record.facts,
                "findings": list(record.findings),
                "files": {n: {"size": f.size, "sha256": f.sha256} for n, f in sorted(record.files.items())},
            }
            for name, record in manifest.stages.items()
        },
    }


def _origin_to_json(origin: PhotoRecord) -> dict[str, Any]:
    if origin.imported:
        fields = ("name", "sha256", "kind", "licence")
        return {"source": {name: getattr(origin, name) for name in fields}}
    return {"photo": {"name": origin.name, "sha256": origin.sha256, "size_px": list(origin.size_px)}}


def _origin_from_json(root: dict[str, Any]) -> PhotoRecord:
    if "photo" not in root and "source" in root:
        source = _mapping(root["source"], "source.")
        name, kind, licence = (_get(source, key, str, "source.") for key in ("name", "kind", "licence"))
        if kind not in SOURCE_KINDS:
            raise InputError(f"source.kind is '{kind[:40]}'; expected one of: {', '.join(SOURCE_KINDS)}")
        return PhotoRecord(name=name, sha256=_hash(source, "sha256", "source."), kind=kind, licence=licence)
    photo = _mapping(_get(root, "photo", dict), "photo.")
    size = _get(photo, "size_px", list, "photo.")
    if len(size) != 2 or not all(type(v) is int and 0 < v < 2**20 for v in size):
        raise InputError(f"photo.size_px is {str(size)[:60]}; expected width and height")
    return PhotoRecord(
        name=_get(photo, "name", str, "photo."), sha256=_hash(photo, "sha256", "photo."), size_px=(size[0], size[1])
    )


def manifest_from_json(data: Any) -> Manifest:
    """Check and read the JSON value of a `world.json`; raises `InputError` that names the key."""
    root = _mapping(data, "")
    version = _get(root, "format", int)
    if version != FORMAT:
        raise InputError(f"format is {version}; this version reads {FORMAT}; use the program that wrote it")
    stages = _mapping(_get(root, "stages", dict), "stages.")
    return Manifest(
        generator=_get(root, "generator", str),
        photo=_origin_from_json(root),
        config=_get(root, "config", dict),
        plan=_texts(root, "plan"),
        stages={name: _stage_from_json(record, f"stages.{name}.") for name, record in stages.items()},
        parents=_texts(root, "parents"),
        journey=journey_from_json(root.get("journey", [])),
        base=base_from_json(root["base"]) if "base" in root else None,
    )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a world folder.

    Raises:
        InputError: there is none, it cannot be read, or its content makes no sense. Nothing is changed.
    """
    path = Path(folder) / MANIFEST_NAME
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"this is no world folder (it has no {MANIFEST_NAME}): {folder}") from error
    except OSError as error:
        raise InputError(f"cannot read {MANIFEST_NAME}: {explain_os_error(error)}: {path}") from error
    try:
        if len(raw) > MAX_MANIFEST_BYTES:
            raise InputError(f"it is larger than {MAX_MANIFEST_BYTES} bytes")
        return manifest_from_json(json.loads(raw, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:  # InputError, JSONDecodeError and UnicodeDecodeError are ValueErrors
        reason = str(error) if not isinstance(error, RecursionError) else "nested too deeply"
        raise InputError(
            f"{MANIFEST_NAME} is damaged ({reason}); restore it, or remove the folder and generate again: {path}"
        ) from error


def _stage_from_json(data: Any, where: str) -> StageRecord:
    record = _mapping(data, where)
    versions = _mapping(_get(record, "versions", dict, where), f"{where}versions.")
    findings = _get(record, "findings", list, where)
    files: dict[str, FileRecord] = {}
    for name, entry in _mapping(_get(record, "files", dict, where), f"{where}files.").items():
        at = f"{where}files.{name[:80]}."
        entry = _mapping(entry, at)
        size = _get(entry, "size", int, at)
        if size < 0:
            raise InputError(f"{at}size is {size}; expected 0 or more")
        files[safe_name(name)] = FileRecord(size=size, sha256=_hash(entry, "sha256", at))
    return StageRecord(
        inputs=_get(record, "inputs", str, where),
        backend=_get(record, "backend", str, where),
        model=_get(record, "model", str, where),
        weights_licence=_get(record, "weights_licence", str, where),
        versions={key: _get(versions, key, str, f"{where}versions.") for key in versions},
        seconds=_number(record, "seconds", where),
        files=files,
        facts=_get(record, "facts", dict, where),
        findings=tuple(_mapping(item, f"{where}findings.") for item in findings),
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where.rstrip('.') or 'the content'} is a {type(value).__name__}; expected a mapping")
    return value


def _get(data: dict[str, Any], key: str, kind: type[T], where: str = "") -> T:
    if key not in data:
        raise InputError(f"{where}{key} is missing")
    value = data[key]
    if type(value) is not kind:
        raise InputError(f"{where}{key} is a {type(value).__name__}; expected {kind.__name__}")
    return value


def _number(data: dict[str, Any], key: str, where: str = "") -> float:
    value = _finite(data.get(key))
    if value is None:
        raise InputError(f"{where}{key} is {str(data.get(key))[:40]}; expected a finite number")
    return value


def _finite(value: Any) -> float | None:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None


def _hash(data: dict[str, Any], key: str, where: str) -> str:
    value = _get(data, key, str, where)
    if not _SHA256.match(value):
        raise InputError(f"{where}{key} is '{value[:70]}'; expected 64 hexadecimal digits")
    return value


def _texts(data: dict[str, Any], key: str) -> tuple[str, ...]:
    values = _get(data, key, list)
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"{key} holds something that is no text")
    return tuple(values)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")
